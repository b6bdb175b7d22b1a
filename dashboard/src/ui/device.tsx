// A card of this machine: how busy, how full, how warm.

import { ago, count, inert, memory } from "../data/format";
import { now } from "../data/live";
import type { Device } from "../data/types";
import { Meter } from "./parts";

export function DeviceCard({ device }: { device: Device }) {
  const busy = device.busy_percent;
  const used = device.memory_used_bytes;
  const all = device.memory_bytes;
  return (
    <li class="device">
      <div class="device-head">
        <strong>{device.name}</strong>
        {device.quarantine ? (
          <span class="badge failed">quarantined</span>
        ) : (
          <span class={device.jobs > 0 ? "badge running" : "badge idle"}>
            {device.jobs > 0 ? count(device.jobs, "job") : device.workers > 0 ? "idle" : "no worker"}
          </span>
        )}
      </div>
      {device.quarantine && (
        <p>
          No job goes there since {ago(device.quarantine.since_ms, now())}: {inert(device.quarantine.detail)}.{" "}
          {device.quarantine.well_since_ms === null ? (
            <>It returns by itself once that is over; <code>overspill gpus --return {device.id}</code> does it now.</>
          ) : (
            "It looks well again, and returns soon."
          )}
        </p>
      )}
      {device.is_nominal ? (
        <p class="quiet">A card in name only: there is no driver to ask how busy it is.</p>
      ) : (
        <dl class="readings">
          <div>
            <dt>Computing</dt>
            <dd>
              <Meter part={busy === null ? null : busy / 100} label={`${device.name}: computing`} tone="local" />
              <span>{busy === null ? "–" : `${busy} %`}</span>
            </dd>
          </div>
          <div>
            <dt>Memory</dt>
            <dd>
              <Meter part={used === null || !all ? null : used / all} label={`${device.name}: memory`} tone="local" />
              <span>{used === null || !all ? (all ? memory(all) : "–") : `${memory(used)} of ${memory(all)}`}</span>
            </dd>
          </div>
          <div>
            <dt>Heat and power</dt>
            <dd>
              <span>
                {device.temperature_c === null ? "–" : `${device.temperature_c} °C`}
                {device.power_mw === null ? "" : `, ${Math.round(device.power_mw / 1_000)} W`}
              </span>
            </dd>
          </div>
        </dl>
      )}
    </li>
  );
}
