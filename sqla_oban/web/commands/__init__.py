"""What each form does: by the verbs of `oban.jobs`, `oban.queues` and `oban.crons`, whose rules hold here as well."""
