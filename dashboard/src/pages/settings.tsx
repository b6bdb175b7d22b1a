// The configuration in force, as the server reads it.

import { useLoad } from "../data/load";
import type { Settings } from "../data/types";
import { Card, Page } from "../ui/parts";
import { href } from "../ui/route";
import { Failed, Loading } from "../ui/states";

export function SettingsPage() {
  const { data, error, again } = useLoad<Settings>("/api/v1/settings");
  return (
    <Page
      title="Settings"
      lead={
        <>
          Limits of workers, the promise and the scaling rule change at once on <a href={href(["endpoints"])}>Endpoints</a>, caps on <a href={href(["money"])}>Money</a>.
          Everything else stands in overspill.toml, which is read again when it is told to: <code>kill -HUP</code> the server.
        </>
      }
    >
      {error && !data && <Failed error={error} again={again} />}
      {!data && !error && <Loading what="the configuration" />}
      {data && (
        <div class="stack">
          {data.warnings.length > 0 && (
            <Card title="To know">
              <ul class="notes">{data.warnings.map((line) => <li key={line}>{line}</li>)}</ul>
            </Card>
          )}
          <Card title="In force" aside={<span class="quiet">Overspill {data.version}</span>}>
            <pre tabIndex={0} aria-label="The configuration in force, secrets left out">{data.config}</pre>
          </Card>
          {data.not_active.length > 0 && (
            <Card title="Understood, and without effect in this version">
              <ul class="notes">{data.not_active.map((line) => <li key={line}>{line}</li>)}</ul>
            </Card>
          )}
        </div>
      )}
    </Page>
  );
}
