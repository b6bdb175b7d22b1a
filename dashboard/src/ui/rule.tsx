// The rule that scales an endpoint, with its constants: in force at once.

import { useState } from "preact/hooks";
import { ApiError, call, may } from "../data/api";
import { ago, words } from "../data/format";
import { useLoad } from "../data/load";
import { now } from "../data/live";
import type { Endpoint, Scaler } from "../data/types";
import { Failed, Loading } from "./states";

interface Constant { key: Exclude<keyof Scaler, "policy">; label: string; unit: string; isText: boolean; initial: string }

/** What each policy has to be told, with what it takes where nothing is said. */
const POLICIES: Record<string, Constant[]> = {
  cost_aware: [
    { key: "lateness_price", label: "Price of lateness", unit: "cold starts, 1 to 100", isText: false, initial: "2" },
    { key: "wait_share", label: "Share of the promise", unit: "0.5 to 1", isText: false, initial: "1" },
    { key: "min_idle", label: "Idle at least", unit: "such as 5s", isText: true, initial: "0s" },
  ],
  queue_delay: [{ key: "queue_delay", label: "One more after", unit: "such as 4s", isText: true, initial: "4s" }],
  request_count: [{ key: "request_count", label: "Jobs per worker", unit: "", isText: false, initial: "4" }],
  ladder: [],
};

export function Rule({ endpoint }: { endpoint: Endpoint }) {
  const path = `/api/v1/endpoints/${encodeURIComponent(endpoint.name)}`;
  const { data, error, again } = useLoad<{ scaler: Scaler }>(path);
  if (error && !data) return <Failed error={error} again={again} />;
  if (!data) return <Loading what="the scaling rule" />;
  return <Form key={JSON.stringify(data.scaler)} path={path} endpoint={endpoint} scaler={data.scaler} done={again} />;
}

function Form({ path, endpoint, scaler, done }: { path: string; endpoint: Endpoint; scaler: Scaler; done: () => void }) {
  const [policy, setPolicy] = useState(scaler.policy);
  const [texts, setTexts] = useState<Partial<Record<Constant["key"], string>>>({});
  const [said, setSaid] = useState<{ text: string; isBad: boolean } | null>(null);
  const [isBusy, setBusy] = useState(false);
  const constants = POLICIES[policy] ?? [];
  const shown = ({ key, initial }: Constant): string => texts[key] ?? (policy === scaler.policy ? String(scaler[key] ?? initial) : initial);
  const isNew = policy !== scaler.policy || constants.some((one) => shown(one) !== String(scaler[one.key] ?? one.initial));
  const isAllowed = may("endpoints:write");
  const id = `rule-${endpoint.name}`;
  const send = async (rule: Scaler | null) => {
    setBusy(true);
    try {
      await call("PATCH", path, { scaler: rule });
      setSaid(null);
      done();
    } catch (reason) {
      setSaid({ text: reason instanceof ApiError ? `${reason.message}. ${reason.hint ?? ""}` : String(reason), isBad: true });
    }
    setBusy(false);
  };
  const save = (event: Event) => {
    event.preventDefault();
    const odd = constants.find((one) => !one.isText && !Number.isFinite(Number(shown(one).trim() || NaN)));
    if (odd) {
      setSaid({ text: `${odd.label}: “${shown(odd)}” is not a number such as 2.5${odd.unit ? ` (${odd.unit})` : ""}. Nothing was changed.`, isBad: true });
      return;
    }
    const given = constants.map((one) => [one.key, one.isText ? shown(one).trim() : Number(shown(one))]);
    void send({ policy, ...Object.fromEntries(given) } as Scaler);
  };
  return (
    <form class="limits" onSubmit={save}>
      <div>
        <label for={`${id}-policy`}>Policy</label>
        <select id={`${id}-policy`} value={policy} disabled={!isAllowed} onChange={(event) => { setPolicy(event.currentTarget.value); setTexts({}); setSaid(null); }}>
          {Object.keys(POLICIES).map((name) => <option key={name} value={name}>{words(name)}</option>)}
        </select>
      </div>
      {constants.map((one) => (
        <div key={one.key}>
          <label for={`${id}-${one.key}`}>{one.label}</label>
          <input
            id={`${id}-${one.key}`}
            inputMode={one.isText ? "text" : "decimal"}
            title={one.unit}
            required
            value={shown(one)}
            disabled={!isAllowed}
            onInput={(event) => { setTexts({ ...texts, [one.key]: event.currentTarget.value }); setSaid(null); }}
          />
        </div>
      ))}
      {isAllowed && <button type="submit" class="primary" disabled={!isNew || isBusy}>{isBusy ? "Setting…" : "Set the rule"}</button>}
      {said && <p class={said.isBad ? "error" : "quiet"} role={said.isBad ? "alert" : "status"}>{said.text}</p>}
      {endpoint.scaler_changed && (
        <p class="quiet">
          Set by {endpoint.scaler_changed.by}, {ago(endpoint.scaler_changed.at_ms, now())}.{" "}
          {isAllowed && <button type="button" class="plain" disabled={isBusy} onClick={() => void send(null)}>Back to the file's</button>}
        </p>
      )}
    </form>
  );
}
