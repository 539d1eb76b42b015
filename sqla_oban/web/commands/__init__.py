"""What each form does: by the verbs of `oban.jobs`, `workflows`, `queues` and `crons`, whose rules hold here too."""
