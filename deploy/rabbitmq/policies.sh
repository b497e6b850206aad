#!/bin/sh
# Optional policies, for a virtual host that Crashmill shares with nobody: sh policies.sh [vhost] [namespace]
#
# Crashmill declares queues with the arguments that it needs and no others; limits are left to policies, which can be changed.
# Never set on its queues: max-length or max-length-bytes with overflow drop-head (the default), message-ttl or expires.
# Each of them throws crashes away, and only the sweep of the crash store brings them back.
set -eu
vhost=${1:-/}
prefix=${2:+$(printf '%s' "$2." | sed 's/\./\\./g')}

# A broker that is not emptied for days refuses new ids, which then wait in the collectors' journals, rather than filling up.
rabbitmqctl set_policy --vhost "$vhost" --apply-to queues --priority 10 crashmill-work \
    "^${prefix}(standard|priority|reprocessing)\$" '{"max-length": 5000000, "overflow": "reject-publish"}'
# A retry that goes home while the broker is killed is not lost either; it costs the broker memory for each that waits.
rabbitmqctl set_policy --vhost "$vhost" --apply-to queues --priority 10 crashmill-retry \
    "^${prefix}retry\\..*\$" '{"dead-letter-strategy": "at-least-once", "overflow": "reject-publish"}'
