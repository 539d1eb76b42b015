"""A job's way through a node. Read in this order:

`service` (what all share), `database` (their connections), `pulse` (their second thread);
`notifier` hears that there is work, `stager` makes due jobs available, `producer` claims, `executor` and `dispatchers`
run, `acker` writes how it ended; `heartbeat` proves that the node lives, `leader` elects who does the upkeep.
"""
