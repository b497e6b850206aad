//! All dimensions of a fact, and the numbers that a batch of facts needs from them.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use crate::{
    CrashFact, DumpFact, Error,
    convert::UNKNOWN,
    dimension::{Dimension, Found, Sql, Wanted},
    statement::On,
    version::{release_version, version_key},
};

/// The number of the row of what is not known, in every dimension.
const UNKNOWN_ID: i32 = 0;

/// The dimensions, with what this process remembers of each.
pub(crate) struct Dimensions {
    product: Dimension<1, 0>,
    channel: Dimension<1, 0>,
    product_version: Dimension<3, 2>,
    build: Dimension<3, 2>,
    signature: Dimension<1, 3>,
    os: Dimension<2, 1>,
    cpu: Dimension<2, 0>,
    reason: Dimension<1, 0>,
    kind: Dimension<2, 0>,
    device: Dimension<4, 0>,
    gpu: Dimension<2, 0>,
    module: Dimension<4, 0>,
    ruleset: Dimension<1, 0>,
}

/// The numbers of one batch.
pub(crate) struct Numbers<'a> {
    channel: Found<'a, 1>,
    product_version: Found<'a, 3>,
    build: Found<'a, 3>,
    signature: Found<'a, 1>,
    os: Found<'a, 2>,
    cpu: Found<'a, 2>,
    reason: Found<'a, 1>,
    kind: Found<'a, 2>,
    device: Found<'a, 4>,
    gpu: Found<'a, 2>,
    module: Found<'a, 4>,
    /// In the order of the facts: the key is no text in them.
    rulesets: Vec<i32>,
}

impl Dimensions {
    /// Forgets everything: the database is another one.
    pub(crate) fn forget(&self) {
        self.product.forget();
        self.channel.forget();
        self.product_version.forget();
        self.build.forget();
        self.signature.forget();
        self.os.forget();
        self.cpu.forget();
        self.reason.forget();
        self.kind.forget();
        self.device.forget();
        self.gpu.forget();
        self.module.forget();
        self.ruleset.forget();
    }

    /// Finds or makes the rows of all names in a batch.
    pub(crate) async fn resolve<'a>(
        &self,
        on: &On<'_>,
        facts: &[&'a CrashFact],
    ) -> Result<Numbers<'a>, Error> {
        self.product.resolve(on, plain(facts, |fact| [fact.product.as_str()])).await?;
        let channel = self.channel.resolve(on, plain(facts, |fact| [fact.channel.as_str()])).await?;

        let mut versions = Wanted::new();
        let mut builds = Wanted::new();
        for fact in facts {
            let (product, channel) = (fact.product.as_str(), known_channel(&channel, fact));
            versions.entry([product, channel, fact.version.as_str()]).or_insert_with(|| {
                let key = version_key(&fact.version).iter().map(ToString::to_string).collect::<Vec<_>>();
                [release_version(&fact.version).to_owned(), format!("{{{}}}", key.join(","))]
            });
            builds.entry([product, channel, fact.build.as_str()]).or_insert_with(|| {
                [fact.build_day.map(|day| day.to_string()).unwrap_or_default(), fact.version.clone()]
            });
        }
        let product_version = self.product_version.resolve(on, versions).await?;

        let rulesets: Vec<String> = facts.iter().map(|fact| hex(&fact.ruleset)).collect();
        let ruleset =
            self.ruleset.resolve(on, rulesets.iter().map(|hash| ([hash.as_str()], [])).collect()).await?;

        Ok(Numbers {
            build: self.build.resolve(on, builds).await?,
            signature: self.signature.resolve(on, signatures(facts)).await?,
            os: self.os.resolve(on, systems(facts)).await?,
            cpu: self.cpu.resolve(on, plain(facts, |fact| [fact.cpu_arch.as_str(), &fact.cpu_model])).await?,
            reason: self.reason.resolve(on, reasons(facts)).await?,
            kind: self.kind.resolve(on, plain(facts, kind_key)).await?,
            device: self.device.resolve(on, plain(facts, device_key)).await?,
            gpu: self.gpu.resolve(on, plain(facts, gpu_key)).await?,
            module: self.module.resolve(on, modules(facts)).await?,
            rulesets: rulesets.iter().map(|hash| id(&ruleset, [hash.as_str()])).collect(),
            channel,
            product_version,
        })
    }
}

/// What is not among the numbers found a full table: it counts as unknown.
fn id<'a, const K: usize>(found: &Found<'a, K>, key: [&'a str; K]) -> i32 {
    found.get(&key).copied().unwrap_or(UNKNOWN_ID)
}

fn small_id<'a, const K: usize>(found: &Found<'a, K>, key: [&'a str; K]) -> i16 {
    i16::try_from(id(found, key)).unwrap_or_default()
}

impl<'a> Numbers<'a> {
    pub(crate) fn product_version(&self, fact: &'a CrashFact) -> i32 {
        id(&self.product_version, [&fact.product, known_channel(&self.channel, fact), &fact.version])
    }

    pub(crate) fn build(&self, fact: &'a CrashFact) -> i32 {
        id(&self.build, [&fact.product, known_channel(&self.channel, fact), &fact.build])
    }

    pub(crate) fn signature(&self, fact: &'a CrashFact) -> i32 {
        id(&self.signature, [&fact.signature])
    }

    pub(crate) fn kind(&self, fact: &'a CrashFact) -> i16 {
        small_id(&self.kind, kind_key(fact))
    }

    pub(crate) fn os(&self, fact: &'a CrashFact) -> i32 {
        id(&self.os, [&fact.os_family, &fact.os_version])
    }

    pub(crate) fn cpu(&self, fact: &'a CrashFact) -> i32 {
        id(&self.cpu, [&fact.cpu_arch, &fact.cpu_model])
    }

    pub(crate) fn reason(&self, reason: &'a str) -> i32 {
        id(&self.reason, [reason])
    }

    pub(crate) fn device(&self, fact: &'a CrashFact) -> i32 {
        id(&self.device, device_key(fact))
    }

    pub(crate) fn gpu(&self, fact: &'a CrashFact) -> i32 {
        id(&self.gpu, gpu_key(fact))
    }

    /// The modules of a dump, in rising order.
    pub(crate) fn modules(&self, dump: &'a DumpFact) -> Vec<i32> {
        let mut ids: Vec<i32> =
            dump.modules.iter().map(|module| id(&self.module, module_key(module))).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Of all facts of the batch, in their order.
    pub(crate) fn rulesets(&self) -> &[i32] {
        &self.rulesets
    }
}

/// The channel's name, or the name of the unknown one where there are too many channels already.
fn known_channel<'a>(channels: &Found<'a, 1>, fact: &'a CrashFact) -> &'a str {
    if channels.contains_key(&[fact.channel.as_str()]) { &fact.channel } else { UNKNOWN }
}

fn kind_key(fact: &CrashFact) -> [&str; 2] {
    [&fact.process_type, fact.event.as_str()]
}

fn device_key(fact: &CrashFact) -> [&str; 4] {
    match &fact.device {
        Some(device) => [&device.manufacturer, &device.model, &device.os_release, &device.abi],
        None => [UNKNOWN, "", "", ""],
    }
}

fn gpu_key(fact: &CrashFact) -> [&str; 2] {
    match &fact.gpu {
        Some(gpu) => [&gpu.vendor, &gpu.device],
        None => [UNKNOWN, ""],
    }
}

fn module_key(module: &crate::ModuleFact) -> [&str; 4] {
    [&module.filename, &module.version, &module.debug_id, &module.code_id]
}

/// The names of a dimension that holds nothing else.
fn plain<'a, const K: usize>(
    facts: &[&'a CrashFact],
    key: impl Fn(&'a CrashFact) -> [&'a str; K],
) -> Wanted<'a, K, 0> {
    facts.iter().map(|fact| (key(fact), [])).collect()
}

fn reasons<'a>(facts: &[&'a CrashFact]) -> Wanted<'a, 1, 0> {
    let crashes = facts.iter().map(|fact| fact.reason.as_str());
    let dumps = facts.iter().flat_map(|fact| &fact.dumps).filter_map(|dump| dump.reason.as_deref());
    crashes.chain(dumps).map(|reason| ([reason], [])).collect()
}

/// Most crashes of a batch have the same modules: which are distinct is found faster than in which order they are.
fn modules<'a>(facts: &[&'a CrashFact]) -> Wanted<'a, 4, 0> {
    let dumps = facts.iter().flat_map(|fact| &fact.dumps);
    let distinct: HashSet<_> = dumps.flat_map(|dump| &dump.modules).map(module_key).collect();
    distinct.into_iter().map(|key| (key, [])).collect()
}

fn systems<'a>(facts: &[&'a CrashFact]) -> Wanted<'a, 2, 1> {
    facts
        .iter()
        .map(|fact| ([fact.os_family.as_str(), fact.os_version.as_str()], [fact.os_label.clone()]))
        .collect()
}

/// A signature is first seen in the earliest of its crashes.
fn signatures<'a>(facts: &[&'a CrashFact]) -> Wanted<'a, 1, 3> {
    let mut earliest = BTreeMap::<&str, &CrashFact>::new();
    for fact in facts {
        let first = earliest.entry(&fact.signature).or_insert(fact);
        if fact.received_at < first.received_at {
            *first = fact;
        }
    }
    let describe = |fact: &CrashFact| {
        let at: Timestamp = fact.received_at;
        [at.to_string(), fact.build.clone(), fact.crash_id.to_string()]
    };
    earliest.into_iter().map(|(signature, fact)| ([signature], describe(fact))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Default for Dimensions {
    fn default() -> Self {
        /// Enough for the names that are in use at one time; an entry takes some 40 bytes.
        const MANY: usize = 50_000;
        const FEW: usize = 10_000;
        macro_rules! sql {
            ($doing:literal, $name:literal) => {
                Sql {
                    doing: $doing,
                    select: include_str!(concat!("sql/", $name, "_select.sql")),
                    insert: include_str!(concat!("sql/", $name, "_insert.sql")),
                }
            };
        }
        Self {
            product: Dimension::new(sql!("looking up products", "product"), FEW),
            channel: Dimension::new(sql!("looking up channels", "channel"), FEW),
            product_version: Dimension::new(sql!("looking up versions", "product_version"), FEW),
            build: Dimension::new(sql!("looking up builds", "build"), FEW),
            signature: Dimension::new(sql!("looking up signatures", "signature"), MANY),
            os: Dimension::new(sql!("looking up operating systems", "os"), FEW),
            cpu: Dimension::new(sql!("looking up processors", "cpu"), FEW),
            reason: Dimension::new(sql!("looking up reasons", "reason"), FEW),
            kind: Dimension::new(sql!("looking up kinds", "kind"), FEW),
            device: Dimension::new(sql!("looking up devices", "device"), FEW),
            gpu: Dimension::new(sql!("looking up graphics processors", "gpu"), FEW),
            module: Dimension::new(sql!("looking up modules", "module"), MANY),
            ruleset: Dimension::new(sql!("looking up rule sets", "ruleset"), FEW),
        }
    }
}
