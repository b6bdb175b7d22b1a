// API keys: who may do what; making one, and ending one.

import { useState } from "preact/hooks";
import { ApiError, call, may, session } from "../data/api";
import { ago, date } from "../data/format";
import { useLoad } from "../data/load";
import { now, overview } from "../data/live";
import type { Key } from "../data/types";
import { Act } from "../ui/act";
import { Badge, Card, Page } from "../ui/parts";
import { Empty, Failed, Loading } from "../ui/states";

const SCOPES: [string, string][] = [
  ["jobs:submit", "submit and retry jobs"],
  ["jobs:read", "see jobs, endpoints and this dashboard"],
  ["jobs:cancel", "cancel jobs"],
  ["queue:purge", "empty queues"],
  ["workers", "see workers"],
  ["endpoints:write", "change limits"],
  ["budget:write", "change caps on spending"],
  ["keys", "make and end keys"],
  ["admin", "everything"],
];
const LENGTHS: [string, string][] = [["", "never"], ["86400", "after a day"], ["2592000", "after 30 days"], ["31536000", "after a year"]];

function Make({ done }: { done: () => void }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["jobs:submit", "jobs:read", "jobs:cancel"]);
  const [endpoint, setEndpoint] = useState("");
  const [ends, setEnds] = useState("");
  const [cap, setCap] = useState("");
  const [made, setMade] = useState<string | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const names = overview.value?.endpoints.map((line) => line.name) ?? [];
  const submit = async (event: Event) => {
    event.preventDefault();
    setError(null);
    try {
      const answer = await call<{ key: string }>("POST", "/api/v1/keys", {
        name: name.trim(),
        scopes,
        ...(endpoint ? { endpoints: [endpoint] } : {}),
        ...(ends ? { expires_in_seconds: Number(ends) } : {}),
        ...(cap.trim() ? { budget: { per_day: cap.trim().startsWith("$") ? cap.trim() : `$${cap.trim()}` } } : {}),
      });
      setMade(answer.key);
      setName("");
      done();
    } catch (reason) {
      if (reason instanceof ApiError) setError(reason);
    }
  };
  const toggle = (scope: string) => setScopes((all) => (all.includes(scope) ? all.filter((one) => one !== scope) : [...all, scope]));
  return (
    <Card title="Make a key" wide>
      <form class="make" onSubmit={(event) => void submit(event)}>
        <div class="fields">
          <div>
            <label for="key-name">Name</label>
            <input id="key-name" required maxLength={100} value={name} placeholder="my app" onInput={(event) => setName(event.currentTarget.value)} />
          </div>
          <div>
            <label for="key-endpoint">For</label>
            <select id="key-endpoint" value={endpoint} onChange={(event) => setEndpoint(event.currentTarget.value)}>
              <option value="">all endpoints</option>
              {names.map((one) => <option key={one} value={one}>{one} only</option>)}
            </select>
          </div>
          <div>
            <label for="key-ends">Ends</label>
            <select id="key-ends" value={ends} onChange={(event) => setEnds(event.currentTarget.value)}>
              {LENGTHS.map(([value, word]) => <option key={value} value={value}>{word}</option>)}
            </select>
          </div>
          <div>
            <label for="key-cap">Most it may spend a day</label>
            <input id="key-cap" inputMode="decimal" value={cap} placeholder="no cap" onInput={(event) => setCap(event.currentTarget.value)} />
          </div>
        </div>
        <fieldset>
          <legend>It may</legend>
          {SCOPES.filter(([scope]) => may(scope)).map(([scope, words]) => (
            <label key={scope} class="check">
              <input type="checkbox" checked={scopes.includes(scope)} onChange={() => toggle(scope)} /> {words}
            </label>
          ))}
        </fieldset>
        <button type="submit" class="primary" disabled={name.trim() === "" || scopes.length === 0}>Make the key</button>
        {error && <p class="error" role="alert">{error.message}. {error.hint}</p>}
      </form>
      {made && (
        <div class="made" role="status">
          <p><b>This is the key. It is shown this once:</b></p>
          <p><code class="breaks">{made}</code></p>
          <div class="actions">
            <Act label="Copy" busy="Copying…" scope="keys" act={() => navigator.clipboard.writeText(made)} />
            <button type="button" onClick={() => setMade(null)}>I have kept it</button>
          </div>
        </div>
      )}
    </Card>
  );
}

export function Keys() {
  const { data, error, again } = useLoad<{ keys: Key[] }>("/api/v1/keys");
  return (
    <Page title="Keys" lead="Who may do what. A key is kept as a digest only; nobody can read it here again.">
      <div class="grid">
        <Card title="Keys that are valid" wide>
          {error && !data && <Failed error={error} again={again} />}
          {!data && !error && <Loading what="keys" />}
          {data && data.keys.length === 0 && <Empty title="No key that you may see" />}
          {data && data.keys.length > 0 && (
            <div class="scroll" tabIndex={0} role="region" aria-label="Keys">
              <table>
                <thead>
                  <tr>
                    <th scope="col">Name</th><th scope="col">Id</th><th scope="col">May</th><th scope="col">For</th><th scope="col">Made</th><th scope="col">Ends</th>
                    <th scope="col"><span class="hidden">Actions</span></th>
                  </tr>
                </thead>
                <tbody>
                  {data.keys.map((key) => (
                    <tr key={key.id}>
                      <th scope="row">{key.name} {key.id === session.value?.key && <Badge state="running">yours</Badge>}</th>
                      <td class="mono">{key.id}</td>
                      <td>{key.scopes.includes("admin") ? "everything" : key.scopes.join(", ")}</td>
                      <td>{key.endpoints ? key.endpoints.join(", ") : "all endpoints"}</td>
                      <td class="quiet" title={date(key.created_at_ms)}>{ago(key.created_at_ms, now())}</td>
                      <td class="quiet">{key.expires_at_ms ? date(key.expires_at_ms) : "never"}</td>
                      <td class="num">
                        {key.id !== session.value?.key && (
                          <Act
                            label="End it"
                            busy="Ending…"
                            scope="keys"
                            tone="danger"
                            ask={`End the key “${key.name}”? Whatever uses it is refused from now on.`}
                            act={() => call("DELETE", `/api/v1/keys/${encodeURIComponent(key.id)}`)}
                            done={again}
                          />
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
        </Card>
        <Make done={again} />
      </div>
    </Page>
  );
}
