# A plain script that enqueues and ends: no event loop, no runner, any driver.
#
#     pip install "sqla-oban[psycopg,cli]"
#     export DATABASE_URL=postgresql+psycopg://user:password@host/database     (or +psycopg2)
#     sqla-oban migrate --url $DATABASE_URL
#     python examples/script.py ada@example.com bob@example.com
#
# Elsewhere, and at any time, this runs what it left:
#
#     sqla-oban run --url $DATABASE_URL --import examples.script --queues mailers:10

import os
import sys

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sqla_oban import insert_all, job


@job(name="newsletter.send", queue="mailers")  # named, because a script's own module is called __main__
def send_newsletter(email: str) -> None:
    print(f"a newsletter for {email}", flush=True)  # a real one would send a mail


def main(*emails: str) -> None:
    engine = create_engine(os.environ["DATABASE_URL"])
    with Session(engine) as session, session.begin():
        jobs = insert_all(session, [send_newsletter.new(email) for email in emails])
    engine.dispose()
    print(f"enqueued {len(jobs)} jobs")


if __name__ == "__main__":
    main(*sys.argv[1:])
