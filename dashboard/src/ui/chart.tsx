// A chart of the last minutes: uPlot, drawn at most once a frame, in the page's own colours.

import { useSignalEffect } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { samples } from "../data/live";
import type { Sample } from "../data/types";
import { isDark } from "./theme";

export interface Line {
  label: string;
  /** A CSS variable. */
  color: string;
  of: (sample: Sample) => number;
  /** Fills the area below. */
  fill?: boolean;
  /** Stands on the line before. */
  stacked?: boolean;
  /** Counts things that happened: shown as so many a minute. */
  rate?: boolean;
}

interface ChartProps {
  title: string;
  lines: Line[];
  minutes: number;
  height: number;
  show: (value: number) => string;
  /** The least top of the scale, so that noise near zero does not look like a peak. */
  top: number;
}

const css = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Seconds over which things that happened are counted, for a chart of so many minutes. */
const rateSeconds = (minutes: number): number => (minutes <= 10 ? 10 : 60);

/** So many a minute, at each sample, counted over the seconds before it. */
function perMinute(all: Sample[], of: (sample: Sample) => number, seconds: number): number[] {
  let first = 0;
  let sum = 0;
  return all.map((sample) => {
    sum += of(sample);
    for (;;) {
      const oldest = all[first];
      if (!oldest || oldest.at_ms > sample.at_ms - seconds * 1_000) break;
      sum -= of(oldest);
      first += 1;
    }
    return Math.round((sum * 60) / seconds);
  });
}

/** Values as drawn, one row a line, and as said. */
function rows(all: Sample[], lines: Line[], minutes: number): { x: number[]; drawn: number[][]; said: number[][] } {
  const x = all.map((sample) => sample.at_ms / 1_000);
  const said = lines.map((line) => (line.rate ? perMinute(all, line.of, rateSeconds(minutes)) : all.map(line.of)));
  const drawn = said.map((row) => row.slice());
  lines.forEach((line, n) => {
    const below = drawn[n - 1];
    const own = drawn[n];
    if (line.stacked && below && own) own.forEach((value, i) => (own[i] = value + (below[i] ?? 0)));
  });
  return { x, drawn, said };
}

/** The time of day, with seconds only between full minutes. */
function timeOfDay(seconds: number): string {
  const at = new Date(seconds * 1_000);
  const two = (n: number) => String(n).padStart(2, "0");
  const minute = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return at.getSeconds() === 0 ? minute : `${minute}:${two(at.getSeconds())}`;
}

export function Chart({ title, lines, minutes, height, show, top }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const frame = useRef(0);
  const said = useRef<number[][]>([]);
  const [at, setAt] = useState<number | null>(null);
  const [newest, setNewest] = useState<number[]>([]);

  const draw = () => {
    frame.current = 0;
    const chart = plot.current;
    if (!chart) return;
    const all = samples.peek();
    const end = all[all.length - 1]?.at_ms ?? Date.now();
    // A server that was started lately has little to show: the chart grows to its whole length.
    const first = all[0]?.at_ms ?? end;
    const begin = Math.max(end - minutes * 60_000, Math.min(first, end - 60_000));
    const seen = rows(all.filter((sample) => sample.at_ms >= begin), lines, minutes);
    said.current = seen.said;
    // Stacked areas are drawn from the top one down.
    chart.setData([seen.x, ...seen.drawn.toReversed()], false);
    let highest = top;
    for (const row of seen.drawn) for (const value of row) if (value > highest) highest = value;
    chart.batch(() => {
      chart.setScale("x", { min: begin / 1_000, max: end / 1_000 });
      chart.setScale("y", { min: 0, max: highest * 1.08 });
    });
    setNewest(seen.said.map((row) => row[row.length - 1] ?? 0));
  };
  const drawSoon = () => {
    if (frame.current === 0) frame.current = requestAnimationFrame(draw);
  };

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const axis = {
      stroke: css("--faint"),
      grid: { stroke: css("--line"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const chart = new uPlot(
      {
        width: element.clientWidth,
        height,
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        scales: { x: { time: true, auto: false }, y: { auto: false } },
        axes: [
          { ...axis, grid: { show: false }, space: 76, size: 26, values: (_, ticks) => ticks.map(timeOfDay) },
          { ...axis, size: 54, gap: 6, space: 34, values: (_, ticks) => ticks.map(show) },
        ],
        series: [
          {},
          ...lines.toReversed().map((line) => ({
            label: line.label,
            stroke: css(line.color),
            width: 1.6,
            points: { show: false },
            ...(line.fill ? { fill: css(`${line.color}-soft`) } : {}),
          })),
        ],
        hooks: { setCursor: [(self: uPlot) => setAt(self.cursor.idx ?? null)] },
      },
      [[], ...lines.map(() => [])],
      element,
    );
    plot.current = chart;
    drawSoon();
    const resize = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      cancelAnimationFrame(frame.current);
      frame.current = 0;
      chart.destroy();
      plot.current = null;
    };
  }, [isDark.value, minutes, height]);

  useSignalEffect(() => {
    void samples.value;
    drawSoon();
  });

  const values = lines.map((_, n) => (at === null ? newest[n] : said.current[n]?.[at]) ?? 0);
  const summary = lines.map((line, n) => `${line.label} ${show(newest[n] ?? 0)}`).join(", ");
  return (
    <figure class="chart">
      <figcaption>
        <span class="chart-title">{title}</span>
        <ul class="legend">
          {lines.map((line, n) => (
            <li key={line.label}>
              <i class={`dot ${line.color.slice(2)}`} aria-hidden="true" />
              {line.label} <b>{show(values[n] ?? 0)}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={box} class="plot" role="img" aria-label={`${title}, now: ${summary}`} />
    </figure>
  );
}
