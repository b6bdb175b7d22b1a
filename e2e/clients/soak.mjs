// The JavaScript client's users of the soak run, all in this process; the tally as JSON on stdout.
//
//     node soak.mjs BASE KEY ENDPOINT USERS SECONDS LATE_S SEED
//
// The client is unmodified. The `fetch` below it is watched, so that each request is timed from its first
// byte to its whole answer. What it prints by itself goes nowhere: a line for every poll.
import runpodSdk from "runpod-sdk";

// As `soak/tally.py`: how long the server may hold a request that names no `wait`.
const HOLDS_S = { runsync: 90, "status-sync": 90, stream: 9 };
const SHOWN = 20;
const JOB_MS = 300_000;
// As `soak/user.py`.
const COUNTS = [2, 6];
const PAUSES_S = [0.5, 1.5];
const QUIET_EVERY = 20;
const QUIET_S = 12;

console.log = () => {};
const [base, key, name, users, seconds, lateS, seed] = process.argv.slice(2);
const endpoint = runpodSdk(key, { baseUrl: `${base}/v2` }).endpoint(name);
const tally = { jobs: {}, errors: [], requests: {}, latest_s: -1e9, late: [] };
const end = performance.now() + Number(seconds) * 1000;

const realFetch = globalThis.fetch;
globalThis.fetch = async (resource, options) => {
  const began = performance.now();
  const answer = await realFetch(resource, options);
  const body = await answer.arrayBuffer();
  answered(new URL(typeof resource === "string" ? resource : resource.url ?? resource), began);
  if (answer.status !== 200) throw new Error(`${resource}: ${answer.status} ${Buffer.from(body)}`);
  return new Response(body, { status: answer.status, headers: answer.headers });
};

function answered(url, began) {
  const operation = url.pathname.split("/")[3];
  const wait = url.searchParams.get("wait");
  const holdS = wait ? Number(wait) / 1000 : (HOLDS_S[operation] ?? 0);
  const overS = (performance.now() - began) / 1000 - holdS;
  tally.requests[operation] = (tally.requests[operation] ?? 0) + 1;
  tally.latest_s = Math.max(tally.latest_s, overS);
  if (overS > Number(lateS) && tally.late.length < SHOWN) {
    tally.late.push(`${operation}: ${overS.toFixed(2)} s over its hold of ${holdS} s`);
  }
}

// A small generator of its own: the same seed asks for the same jobs.
function dice(text) {
  let state = 2166136261;
  for (const letter of text) state = Math.imul(state ^ letter.charCodeAt(0), 16777619);
  return ([least, most]) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return least + (state / 2 ** 32) * (most - least);
  };
}

function* jobs(user) {
  const roll = dice(`${seed}/${user}`);
  for (let number = 0; ; number++) {
    const count = Math.floor(roll([COUNTS[0], COUNTS[1] + 1]));
    const pauseS = Math.round(roll(PAUSES_S) * 100) / 100;
    const isQuiet = roll([0, QUIET_EVERY]) < 1;
    yield { nonce: `${user}-${number}`, count: isQuiet ? 1 : count, pause_s: isQuiet ? QUIET_S : pauseS };
  }
}

function check(given, seen) {
  const wanted = Array.from({ length: given.count }, (_, number) => ({ nonce: given.nonce, number }));
  if (JSON.stringify(seen) !== JSON.stringify(wanted)) {
    throw new Error(`expected ${given.count} chunks, got ${JSON.stringify(seen)}`);
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const isOver = ({ status }) => ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"].includes(status);

async function run(given) {
  const { id } = await endpoint.run({ input: given });
  tally.jobs[given.nonce] = id;
  return id;
}

const FOLLOW = {
  async stream(given) {
    const id = await run(given);
    const seen = [];
    for await (const chunk of endpoint.stream(id)) seen.push(chunk.output);
    check(given, seen);
  },
  async status(given) {
    const id = await run(given);
    let job = await endpoint.status(id);
    while (!isOver(job)) {
      await pause(1000);
      job = await endpoint.status(id);
    }
    check(given, job.output);
  },
  async runSync(given) {
    tally.jobs[given.nonce] = null;
    const job = await endpoint.runSync({ input: given }, JOB_MS);
    tally.jobs[given.nonce] = job.id;
    check(given, job.output);
  },
};

async function one(number) {
  const kinds = Object.keys(FOLLOW);
  const kind = kinds[number % kinds.length];
  for (const given of jobs(`js${number}`)) {
    if (performance.now() > end) return;
    try {
      await FOLLOW[kind](given);
    } catch (error) {
      tally.errors.push(`js, ${kind}, ${given.nonce}: ${error.stack}`);
    }
  }
}

await Promise.all(Array.from({ length: Number(users) }, (_, number) => one(number)));
process.stdout.write(JSON.stringify(tally));
