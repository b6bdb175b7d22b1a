// Caps on spending: how much of each is spent, set aside and left; and their change.

import { useState } from "preact/hooks";
import { ApiError, call, may } from "../data/api";
import { ago, date, money } from "../data/format";
import { useLoad } from "../data/load";
import { now, overview } from "../data/live";
import type { Budget, CapLine, CapTexts, CapsLine, Key, Whose } from "../data/types";
import { Badge, Card } from "../ui/parts";
import { Empty, Failed, Loading } from "../ui/states";

/** A key with one of these could get around a cap of its own. */
const UNCAPPABLE = ["keys", "budget:write", "endpoints:write", "admin"];
const PERIODS: [keyof CapTexts, string][] = [["per_hour", "An hour"], ["per_day", "A day"], ["per_month", "A month"]];

const named = (whose: Whose): string =>
  whose.scope === "endpoint" ? (whose.endpoint ?? "") : whose.scope === "key" ? `key ${whose.key_name ?? whose.key ?? ""}` : "Everything";

/** What a form calls it: `everything`, `endpoint/tts`, `key/a1B2c3D4`. */
const handle = (whose: Whose): string =>
  whose.scope === "everything" ? "everything" : `${whose.scope}/${whose.scope === "endpoint" ? whose.endpoint : whose.key}`;

function CapBar({ cap }: { cap: CapLine }) {
  const whole = Math.max(cap.cap_nano_usd, cap.spent_nano_usd + cap.reserved_nano_usd, 1);
  const part = (nanos: number) => `${(Math.max(0, nanos) / whole) * 100}%`;
  const words = `${money(cap.spent_nano_usd)} spent, ${money(cap.reserved_nano_usd)} set aside, ${money(cap.left_nano_usd)} left of ${money(cap.cap_nano_usd)}`;
  return (
    <li>
      <div class="cap-head">
        <b>{named(cap)}</b>
        <span>{money(cap.cap_nano_usd)} a {cap.period}</span>
        {cap.is_reached && <Badge state="throttled">reached: jobs wait</Badge>}
        <span class="quiet" title={date(cap.ends_at_ms)}>begins anew {ago(cap.ends_at_ms, now())}</span>
      </div>
      <div class="cap-bar" role="img" aria-label={`${named(cap)}, a ${cap.period}: ${words}`}>
        <i class="spent" style={{ width: part(cap.spent_nano_usd) }} />
        <i class="reserved" style={{ width: part(cap.reserved_nano_usd) }} />
      </div>
      <p class="quiet">{words}</p>
    </li>
  );
}

function ChangeCaps({ budget, done }: { budget: Budget; done: () => void }) {
  const keys = useLoad<{ keys: Key[] }>(may("keys") ? "/api/v1/keys" : null);
  const cappable = (keys.data?.keys ?? []).filter((key) => !key.scopes.some((scope) => UNCAPPABLE.includes(scope)));
  const [whose, setWhose] = useState("everything");
  const [texts, setTexts] = useState<Partial<CapTexts>>({});
  const [said, setSaid] = useState<{ text: string; isError: boolean } | null>(null);
  const source: CapsLine | undefined = budget.sources.find((one) => handle(one) === whose);
  const shown = (key: keyof CapTexts): string => texts[key] ?? source?.caps[key] ?? "";
  const pick = (value: string) => {
    setWhose(value);
    setTexts({});
    setSaid(null);
  };
  const send = async (caps: Record<string, unknown>) => {
    const [scope, name] = whose.split("/");
    try {
      await call("PATCH", "/api/v1/budget", { ...caps, ...(scope && name ? { [scope]: name } : {}) });
      setTexts({});
      setSaid({ text: "Saved, and in force.", isError: false });
      done();
    } catch (error) {
      setSaid({ text: error instanceof ApiError ? `${error.message}. ${error.hint ?? ""}` : String(error), isError: true });
    }
  };
  const submit = (event: Event) => {
    event.preventDefault();
    const caps = PERIODS.map(([key]) => {
      const text = shown(key).trim();
      return [key, text === "" ? null : text.startsWith("$") ? text : `$${text}`];
    });
    void send(Object.fromEntries(caps));
  };
  return (
    <form class="caps-form" onSubmit={submit}>
      <div class="fields">
        <div>
          <label for="caps-whose">Caps on</label>
          <select id="caps-whose" value={whose} onChange={(event) => pick(event.currentTarget.value)}>
            <option value="everything">everything</option>
            {(overview.value?.endpoints ?? []).map((one) => <option key={one.name} value={`endpoint/${one.name}`}>endpoint {one.name}</option>)}
            {cappable.map((key) => <option key={key.id} value={`key/${key.id}`}>key {key.name} ({key.id})</option>)}
          </select>
        </div>
        {PERIODS.map(([key, label]) => (
          <div key={key}>
            <label for={`caps-${key}`}>{label}</label>
            <input
              id={`caps-${key}`}
              inputMode="decimal"
              placeholder="no cap"
              value={shown(key)}
              onInput={(event) => setTexts({ ...texts, [key]: event.currentTarget.value })}
            />
          </div>
        ))}
      </div>
      <div class="actions">
        <button type="submit" class="primary">Save the caps</button>
        {source?.by && <button type="button" onClick={() => void send({ reset: true })}>{source.scope === "key" ? "Take them away" : "Back to the file"}</button>}
      </div>
      {source?.by && source.at_ms !== null && (
        <p class="quiet">
          Set by {source.by} {ago(source.at_ms, now())}
          {source.scope === "key" ? "." : `; the file says ${PERIODS.map(([key, label]) => (source.file[key] ? `${source.file[key]} ${label.toLowerCase()}` : "")).filter(Boolean).join(", ") || "no cap"}.`}
        </p>
      )}
      {said && <p class={said.isError ? "error" : "quiet"} role={said.isError ? "alert" : "status"}>{said.text}</p>}
    </form>
  );
}

export function Caps() {
  const { data, error, again } = useLoad<Budget>("/api/v1/budget", 2_000);
  return (
    <Card title="Caps">
      {error && !data && <Failed error={error} again={again} />}
      {!data && !error && <Loading what="the caps" />}
      {data && data.caps.length === 0 && <Empty title="No cap is set">Cloud spending is bounded by the most workers of each endpoint alone.</Empty>}
      {data && data.caps.length > 0 && (
        <ul class="caps">
          {data.caps.map((cap) => <CapBar key={`${handle(cap)}/${cap.period}`} cap={cap} />)}
        </ul>
      )}
      {data && may("budget:write") && <ChangeCaps budget={data} done={again} />}
    </Card>
  );
}
