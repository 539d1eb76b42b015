/* Graphile Worker: https://worker.graphile.org. The same conversation as conversation.py, for Node. */

"use strict";

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { Logger, makeWorkerUtils, run, runMigrations } = require("graphile-worker");
const { Pool } = require("pg");

const TASK = "noop";
const GIVEN =
  "`concurrentJobs=concurrency`, `maxPoolSize` one more but at most 25, `localQueue.size` 500 or, where that is more, " +
  "`concurrency + 1`; `completeJobBatchDelay` and `failJobBatchDelay` 0; `addJobs` in bulk";
const FILL = `
  SELECT count(*) FROM graphile_worker.add_jobs(array(
    SELECT ROW('noop', json_build_object('number', n, 'nap', $1::float8), NULL, NULL, NULL, NULL, NULL, NULL)
      ::graphile_worker.job_spec
    FROM generate_series($2::int, $3::int - 1) n))`;
const CHUNK = 50_000;
const POLL = 2;

const silent = new Logger(() => () => {});
const pool = new Pool({ connectionString: process.argv[2], max: 2 });
let utils, adding;
let witness = newWitness();

const now = () => (performance.timeOrigin + performance.now()) / 1000;
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

class Missing extends Error {}

function newWitness(expected) {
  const made = { starts: [], expected };
  made.enough = new Promise((resolve) => (made.tell = resolve));
  return made;
}

async function noop({ number, nap }) {
  witness.starts.push([number, now()]);
  if (witness.starts.length === witness.expected) witness.tell(true);
  if (nap) await pause(nap * 1000);
}

function work(concurrency) {
  return run({
    connectionString: process.argv[2],
    concurrency,
    maxPoolSize: Math.min(concurrency + 1, 25),
    noHandleSignals: true,
    logger: silent,
    taskList: { [TASK]: noop },
    preset: {
      worker: {
        localQueue: { size: Math.max(500, concurrency + 1) },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
  });
}

async function connect(connections) {
  adding = new Pool({ connectionString: process.argv[2], min: connections, max: connections });
  utils = await makeWorkerUtils({ pgPool: adding, logger: silent });
  const clients = await Promise.all(Array.from({ length: connections }, () => adding.connect()));
  clients.forEach((client) => client.release());
}

function specs(jobs) {
  return Array.from({ length: jobs }, (_, number) => ({ identifier: TASK, payload: { number } }));
}

async function isFinished() {
  return (await pool.query("SELECT FROM graphile_worker._private_jobs LIMIT 1")).rowCount === 0;
}

const verbs = {
  async prepare() {
    await runMigrations({ connectionString: process.argv[2], logger: silent });
    const main = require.resolve("graphile-worker");
    const described = JSON.parse(fs.readFileSync(path.join(path.dirname(main), "..", "package.json")));
    return { version: `graphile-worker ${described.version}, Node ${process.version}`, given: GIVEN };
  },

  async fill({ jobs, nap = 0 }) {
    for (let first = 0; first < jobs; first += CHUNK) {
      await pool.query(FILL, [nap, first, Math.min(first + CHUNK, jobs)]);
    }
    return {};
  },

  async keep() {
    throw new Missing("keeps no jobs that have ended");
  },

  async burn() {
    throw new Missing("runs no jobs in processes");
  },

  async drain({ jobs, concurrency, budget, whole }) {
    witness = newWitness(jobs);
    const runner = await work(concurrency);
    const enough = await Promise.race([witness.enough, pause(budget * 1000)]);
    while (whole && enough && !(await isFinished())) await pause(POLL);
    const ended = now();
    runner.stop().catch(() => {});
    const { starts } = witness;
    if (!starts.length) throw new Missing(`ran nothing within ${budget} s`);
    if (!enough || whole) return { jobs: starts.length, seconds: ended - starts[0][1] };
    return { jobs: jobs - 1, seconds: starts[jobs - 1][1] - starts[0][1] };
  },

  async serve({ concurrency }) {
    witness = newWitness();
    await work(concurrency);
    return {};
  },

  async seen({ each = false }) {
    const { starts } = witness;
    const moments = starts.length ? [starts[0][1], starts.at(-1)[1]] : [];
    return { count: starts.length, moments, starts: each ? starts : [] };
  },

  async enqueue({ jobs, committers, every = 0, warm = 0 }) {
    await connect(committers);
    for (let number = 0; number < warm; number++) await utils.addJob(TASK, { number });
    const commits = [];
    const began = now();
    const commit = async (first) => {
      for (let number = first; number < jobs; number += committers) {
        const wait = (began + number * every - now()) * 1000;
        if (every && wait > 0) await pause(wait);
        await utils.addJob(TASK, { number });
        commits.push([number, now()]);
      }
    };
    await Promise.all(Array.from({ length: committers }, (_, first) => commit(first)));
    return { seconds: now() - began, commits };
  },

  async insert({ jobs, warm = 0 }) {
    await connect(1);
    if (warm) await utils.addJobs(specs(warm));
    const made = specs(jobs);
    const began = now();
    await utils.addJobs(made);
    return { seconds: now() - began };
  },

  async schedule({ jobs, ahead, every }) {
    await connect(1);
    const first = now() + ahead;
    const due = Array.from({ length: jobs }, (_, number) => [number, first + number * every]);
    for (const [number, moment] of due) {
      await utils.addJob(TASK, { number }, { runAt: new Date(moment * 1000) });
    }
    if (now() > first) throw new Missing(`took more than ${ahead} s to put in ${jobs} scheduled jobs`);
    return { due };
  },
};

async function answer({ do: verb, ...request }) {
  try {
    return await verbs[verb](request);
  } catch (error) {
    console.error(error);
    return error instanceof Missing ? { missing: error.message } : { error: `${error.name}: ${error.message}` };
  }
}

async function hold() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
  }
  process.exit(0);
}

hold();
