// Where jobs run: the cards of this machine, and every pool with its workers.

import { ago, date, money, short } from "../data/format";
import { useLoad } from "../data/load";
import { now, overview } from "../data/live";
import type { Device, PoolWithWorkers } from "../data/types";
import { DeviceCard } from "../ui/device";
import { Badge, Card, Page, Workers as States, workersOf } from "../ui/parts";
import { href } from "../ui/route";
import { Empty, Failed, Loading } from "../ui/states";

function Jobs({ ids }: { ids: string[] }) {
  if (ids.length === 0) return <span class="quiet">–</span>;
  return (
    <span class="workers">
      {ids.map((id) => (
        <a key={id} class="mono" href={href(["jobs", id])} title={id}>{short(id)}</a>
      ))}
    </span>
  );
}

function Cloud({ pool }: { pool: PoolWithWorkers }) {
  const cloud = pool.cloud;
  if (!cloud) return null;
  return (
    <dl class="facts-row">
      {cloud.region && <div><dt>Region</dt><dd>{cloud.region}</dd></div>}
      {cloud.gpu && <div><dt>GPU</dt><dd>{cloud.gpu}</dd></div>}
      <div><dt>Wanted</dt><dd>{cloud.wanted}{cloud.max !== null ? ` of ${cloud.max}` : ""}</dd></div>
      <div><dt>Price</dt><dd>{cloud.price_nano_usd_per_hour ? `${money(cloud.price_nano_usd_per_hour)} an hour each` : "unknown: not used"}</dd></div>
      <div><dt>Costs now</dt><dd>{money(cloud.nano_usd_per_hour)} an hour</dd></div>
      <div><dt>Set aside</dt><dd>{money(cloud.reserved_nano_usd)}</dd></div>
      <div><dt>Handed over, not begun</dt><dd>{pool.waiting}</dd></div>
      {cloud.passed_over_until_ms !== null && (
        <div><dt>Passed over</dt><dd><Badge state="throttled">no workers to be had</Badge> until {ago(cloud.passed_over_until_ms, now())}</dd></div>
      )}
      {cloud.resumes_at_ms !== null && (
        <div><dt>Left alone</dt><dd><Badge state="failed">after {cloud.failures} refusals</Badge> again {ago(cloud.resumes_at_ms, now())}</dd></div>
      )}
    </dl>
  );
}

function One({ pool }: { pool: PoolWithWorkers }) {
  const unnamed = workersOf(pool.workers) - pool.named_workers.length;
  return (
    <Card
      title={`${pool.endpoint} · ${pool.name}`}
      aside={<Badge state={pool.kind === "cloud" ? "cloud" : "running"}>{pool.kind === "cloud" ? "cloud" : "your cards"}</Badge>}
      wide
    >
      <div class="stack">
        {workersOf(pool.workers) > 0 && <p><States states={pool.workers} /></p>}
        <Cloud pool={pool} />
        {pool.named_workers.length > 0 && (
          <div class="scroll" tabIndex={0} role="region" aria-label={`Workers of ${pool.endpoint}, ${pool.name}`}>
            <table>
              <thead>
                <tr>
                  <th scope="col">Worker</th><th scope="col">State</th><th scope="col">Card</th><th scope="col">Runs</th>
                  <th scope="col" class="num">Results</th><th scope="col">Since</th>
                </tr>
              </thead>
              <tbody>
                {pool.named_workers.map((worker) => (
                  <tr key={worker.id}>
                    <th scope="row" class="mono" title={worker.id}>{short(worker.id)}</th>
                    <td><Badge state={worker.state ?? "running"} /></td>
                    <td>{worker.device ?? "–"}</td>
                    <td><Jobs ids={worker.jobs} /></td>
                    <td class="num">{worker.results ?? "–"}</td>
                    <td class="quiet" title={worker.started_at_ms ? date(worker.started_at_ms) : ""}>{worker.started_at_ms ? ago(worker.started_at_ms, now()) : "–"}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        {pool.kind === "cloud" && unnamed > 0 && <p class="quiet">Cloud workers have names here while they run jobs of yours; {unnamed} more {unnamed === 1 ? "is" : "are"} only counted.</p>}
        {workersOf(pool.workers) === 0 && (
          <p class="quiet">{pool.kind === "cloud" ? "No worker is up, so this pool costs nothing." : "No worker is up here."}</p>
        )}
      </div>
    </Card>
  );
}

export function WorkersPage() {
  const { data, error, again } = useLoad<{ pools: PoolWithWorkers[]; devices: Device[] }>("/api/v1/pools", 2_000);
  const devices = overview.value?.devices ?? data?.devices ?? [];
  return (
    <Page title="Workers" lead="Where jobs run: on the cards of this machine first, then in the cloud.">
      {error && !data && <Failed error={error} again={again} />}
      {!data && !error && <Loading what="workers" />}
      {data && (
        <div class="grid">
          <Card title="Cards of this machine" wide>
            {devices.length === 0 ? (
              <Empty title="No card of this machine takes part">Name some in a local pool of an endpoint: <code>devices = "all"</code>.</Empty>
            ) : (
              <ul class="devices side-by-side">{devices.map((device) => <DeviceCard key={device.id} device={device} />)}</ul>
            )}
          </Card>
          {data.pools.map((pool) => <One key={`${pool.endpoint}/${pool.name}`} pool={pool} />)}
          {data.pools.length === 0 && <Card wide><Empty title="No endpoint has a pool">Jobs wait until one is configured.</Empty></Card>}
        </div>
      )}
    </Page>
  );
}
