"""What can be wrong with an installation, one subject a module, each a function that yields findings.

`sqla-oban check` asks what a deployment needs (`examination`), `sqla-oban doctor` what harms a queue that runs
(`diagnosis`). Nothing here changes anything.
"""
