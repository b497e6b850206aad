//! The broker: whether it is there, holds what we need, takes what we send, and keeps it.

use std::time::Duration;

use crash::QueueName;
use queue::{Depth, Error, Examination, Kind};
use reqwest::Client;
use serde_json::{Map, Value};
use url::Url;

use super::findings::Findings;
use crate::config::Config;

/// The oldest version that is supported: quorum queues of older ones know no time to live.
const OLDEST: (u32, u32) = (3, 10);
/// Where RabbitMQ's management plugin answers, where it is on.
const MANAGEMENT_PORT: u16 = 15672;
const MANAGEMENT_ANSWER: Duration = Duration::from_secs(4);
/// So many crashes that wait are worth a word.
const MANY: u32 = 100_000;

pub(super) async fn look(config: Config) -> Findings {
    let mut findings = Findings::default();
    match queue::examine(&config.queue).await {
        Ok(found) => examined(&found, &config, &mut findings),
        Err(error) => unreachable(&error, &mut findings),
    }
    findings
}

fn unreachable(error: &Error, findings: &mut Findings) {
    let said = error.to_string();
    let refused = ["ACCESS_REFUSED", "ACCESS-REFUSED", "403"].iter().any(|word| said.contains(word));
    let advice = if refused {
        "the user or the password is not the broker's, or may do nothing in this virtual host: see queue.url and \
         queue.password, and `rabbitmqctl list_permissions` there"
    } else {
        "start RabbitMQ, see to the way to it, or correct queue.url. Collectors go on, and keep ids in their journals"
    };
    findings.fail("broker.reachable", said, advice);
}

fn examined(found: &Examination, config: &Config, findings: &mut Findings) {
    let server = found.server.as_deref().unwrap_or("a broker that does not say its version");
    findings.ok("broker.reachable", format!("{server} at {}", config.queue.url));
    if let Some(version) = found.server.as_deref().and_then(version)
        && version < OLDEST
    {
        let (major, minor) = OLDEST;
        findings.fail("broker.version", server, format!("upgrade it to RabbitMQ {major}.{minor} or later"));
    }
    for different in &found.different {
        let (what, advice) = different.split_once(". Empty").unwrap_or((different, ""));
        findings.fail("broker.topology", what, format!("empty{advice}"));
    }
    match (found.absent.as_slice(), found.different.as_slice()) {
        ([], []) => findings.ok("broker.topology", "every queue and exchange is there, and as it should be"),
        ([], _) => {}
        (absent, _) => findings.warn(
            "broker.topology",
            format!("not there yet: {}", absent.join(", ")),
            "the first role that connects makes them; where one runs, see its log",
        ),
    }
    match &found.takes_nothing {
        Some(reason) => findings.fail(
            "broker.takes_messages",
            reason,
            "see `rabbitmq-diagnostics alarms` there, and free memory or disk. Collectors keep ids in their journals",
        ),
        None if found.absent.is_empty() => findings.ok("broker.takes_messages", "it confirms what it is sent"),
        None => findings.skip("broker.takes_messages", "there is nothing to send to yet"),
    }
    backlog(&found.depths, findings);
}

fn version(server: &str) -> Option<(u32, u32)> {
    let mut numbers = server.split_once(' ')?.1.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Consumers are processors: each takes from every work queue.
fn backlog(depths: &[Depth], findings: &mut Findings) {
    let work = Kind::Work(QueueName::Standard);
    let Some(standard) = depths.iter().find(|depth| depth.kind == work) else { return };
    let waiting: u32 = depths.iter().filter(|depth| depth.kind != Kind::Dead).map(|depth| depth.ready).sum();
    let check = "broker.processors";
    let more = "start more: systemctl start crashmill-processor@{1..4}; `crashmill status` shows what waits";
    match standard.consumers {
        0 => findings.warn(check, format!("no processor is connected, and {waiting} crashes wait"), more),
        some if waiting > MANY => {
            findings.warn(
                check,
                format!("{some} processors are connected, and {waiting} crashes wait"),
                more,
            );
        }
        some => findings.ok(check, format!("{some} processors are connected, and {waiting} crashes wait")),
    }
}

/// Policies that would lose messages. The protocol tells nothing of them; the management plugin does, where it is on.
pub(super) async fn policies(config: Config) -> Findings {
    let mut findings = Findings::default();
    match queues(&config).await {
        Ok(queues) => judge(&queues, &config.queue.namespace, &mut findings),
        Err(why) => findings.skip(
            "policies.loss",
            format!(
                "policies cannot be seen ({why}): `rabbitmqctl list_policies` there; none may set max-length without \
                 overflow reject-publish, message-ttl or expires on our queues"
            ),
        ),
    }
    findings
}

/// All queues of the virtual host, as the management plugin tells.
async fn queues(config: &Config) -> Result<Vec<Value>, String> {
    let whole = config.queue.url.with_password(&config.queue.password);
    let url = Url::parse(whole.expose()).map_err(|error| error.to_string())?;
    if url.scheme() != "amqp" {
        return Err("the broker is reached by TLS, and the management plugin would not be".to_owned());
    }
    let host = url.host_str().unwrap_or("localhost");
    let vhost = match url.path().trim_start_matches('/') {
        "" => "%2f",
        vhost => vhost,
    };
    let address = format!("http://{host}:{MANAGEMENT_PORT}/api/queues/{vhost}");
    let client = Client::builder().timeout(MANAGEMENT_ANSWER).no_proxy().build();
    let asking = client.map_err(|error| error.to_string())?.get(address);
    let user = percent_decoded(url.username());
    let password = url.password().map(percent_decoded);
    let answer = asking.basic_auth(user, password).send().await;
    let answer = answer.map_err(|_| format!("no management plugin answers at port {MANAGEMENT_PORT}"))?;
    if !answer.status().is_success() {
        return Err(format!("the management plugin answers {}", answer.status()));
    }
    answer.json().await.map_err(|_| "the management plugin's answer is not understood".to_owned())
}

fn percent_decoded(text: &str) -> String {
    crate::commands::sql::percent_decoded(text).unwrap_or_default()
}

/// Looks at the policies that are in force on our queues.
fn judge(queues: &[Value], namespace: &str, findings: &mut Findings) {
    let mut good = true;
    let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}.") };
    for queue in queues {
        let Some(name) = queue.get("name").and_then(Value::as_str).filter(|name| is_ours(name, &prefix))
        else {
            continue;
        };
        let Some(policy) = queue.get("effective_policy_definition").and_then(Value::as_object) else {
            continue;
        };
        for loss in losses(policy) {
            good = false;
            let policy = queue.get("policy").and_then(Value::as_str).unwrap_or("an operator policy");
            findings.fail(
                "policies.loss",
                format!("{policy} on {name}: {loss}"),
                "take it out of the policy (rabbitmqctl set_policy): the sweep brings back what was lost, late",
            );
        }
    }
    if good {
        findings.ok("policies.loss", "no policy on our queues loses messages");
    }
}

fn is_ours(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|name| {
        ["standard", "priority", "reprocessing", "dead"].contains(&name) || name.starts_with("retry.")
    })
}

/// What of a policy throws messages away.
fn losses(policy: &Map<String, Value>) -> Vec<String> {
    let mut losses = Vec::new();
    let limited = ["max-length", "max-length-bytes"].iter().find(|key| policy.contains_key(**key));
    let overflow = policy.get("overflow").and_then(Value::as_str).unwrap_or("drop-head");
    if let Some(limit) = limited.filter(|_| overflow != "reject-publish") {
        losses.push(format!(
            "{limit} with overflow {overflow} drops what has waited longest; reject-publish does not"
        ));
    }
    losses.extend(
        ["message-ttl", "expires"]
            .into_iter()
            .filter(|key| policy.contains_key(*key))
            .map(|key| format!("{key} drops what waits for too long")),
    );
    losses
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(queues: &Value) -> Vec<Value> {
        let mut findings = Findings::default();
        judge(queues.as_array().unwrap(), "eu", &mut findings);
        serde_json::to_value(findings.report(false)).unwrap()["findings"].as_array().unwrap().clone()
    }

    fn queue(name: &str, policy: &Value) -> Value {
        json!({"name": name, "policy": "limits", "effective_policy_definition": policy})
    }

    #[test]
    fn a_policy_that_drops_messages_of_ours_is_named_with_its_queue() {
        for (policy, word) in [
            (json!({"max-length": 10}), "drop-head"),
            (json!({"max-length-bytes": 10, "overflow": "drop-head"}), "max-length-bytes"),
            (json!({"message-ttl": 1}), "message-ttl"),
            (json!({"expires": 1}), "expires"),
        ] {
            let findings = found(&json!([queue("eu.standard", &policy)]));
            assert_eq!(findings.len(), 1, "{findings:?}");
            let said = findings[0]["found"].as_str().unwrap();
            assert_eq!(findings[0]["state"], "fail");
            assert!(said.contains(word) && said.contains("limits on eu.standard"), "{said}");
        }
    }

    #[test]
    fn policies_that_refuse_and_queues_of_others_are_well() {
        let findings = found(&json!([
            queue("eu.standard", &json!({"max-length": 10, "overflow": "reject-publish"})),
            queue("standard", &json!({"message-ttl": 1})),
            queue("eu.retry.10s", &json!({"delivery-limit": 20})),
            {"name": "eu.dead"},
        ]));
        assert_eq!((findings.len(), &findings[0]["state"]), (1, &json!("ok")), "{findings:?}");
    }

    #[test]
    fn versions_are_read_as_brokers_write_them() {
        assert_eq!(version("RabbitMQ 3.10.8"), Some((3, 10)));
        assert_eq!(version("RabbitMQ 4.3.0-rc.1"), Some((4, 3)));
        assert_eq!(version("RabbitMQ"), None);
        assert!(version("RabbitMQ 3.9.1").unwrap() < OLDEST);
    }
}
