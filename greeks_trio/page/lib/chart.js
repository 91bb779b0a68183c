// Charts: uPlot with the page's colours, shaded gaps, and words for those who do not see it.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import uPlot from "../vendor/uplot.js";
import { chartOptions } from "./chart-options.js";
import { useZoom } from "./zoom.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const NONE = [];

/** Whether the dark colours are in use; charts are drawn again when it changes. */
export function useDark() {
  const [isDark, setDark] = useState(dark.matches);
  useEffect(() => {
    const follow = () => setDark(dark.matches);
    dark.addEventListener("change", follow);
    return () => dark.removeEventListener("change", follow);
  }, []);
  return isDark;
}

/**
 * A chart of lines or of points.
 *
 * @param {object} props
 * @param {string} props.label What it shows; with `summary` it is the text for screen readers.
 * @param {string} props.summary The main facts in words.
 * @param {Array<number>} props.x Seconds since 1970 if `isTime`, else any numbers, ascending.
 * @param {Array<Series>} props.series `{label, values, format, colour, dash, points, stepped, low,
 *   high, marker, hasLine, spansGaps, endLabel}`: `values` with `null` where nothing is known, and
 *   `undefined` where only another series has a point; `format(value, step)` its text, on the axis
 *   with the step between two labels; `colour` a token such as `--series-1`; `points` true, or
 *   `alone` for those that no line reaches; `low` and `high` draw a band; `marker` the form of the
 *   points, `circle`, `square` or `cross`, with `-open` hollow; `hasLine: false` leaves the line
 *   out; `spansGaps` draws it across nulls; `endLabel` is its name at its right end.
 * @param {Array<[number, number, string?]>} props.gaps Intervals of x that are shaded, with the
 *   token of another colour than that of gaps.
 * @param {Array<{x: number, label: string}>} props.marks Vertical lines with a name.
 * @param {[number, number]} props.range Of x; without it, from the first to the last one.
 * @param {number} props.height Pixels.
 * @param {boolean} props.hasLegend Below the chart, with the values under the pointer.
 * @param {string} props.labelX The name of x in the legend.
 * @param {string} props.sync Charts with the same name show the same x under the pointer.
 * @param {(from: number, to: number) => void} props.onZoom A range was dragged.
 * @param {(index: number | null) => void} props.onCursor The pointer is at this x.
 * @param {number} props.restX The legend shows the values at this x while no pointer is over the chart.
 * @param {(x: number) => string} props.formatX Of the axis, if not times.
 */
export function Chart({ label, summary = "", x, series, height: wanted = 240, isTime = true, hasLegend = true, labelX, sync, formatX, ...changing }) {
  const { gaps = NONE, marks = NONE, range, restX, onZoom, onCursor } = changing;
  const host = useRef(null);
  const plot = useRef(null);
  const live = useRef(null);
  const isDark = useDark();
  const zoom = useZoom();
  const height = Math.round(wanted * zoom);
  live.current = { gaps, marks, range, restX, series, onZoom, onCursor };
  const looks = series.map(({ label: name, colour, dash, marker, endLabel, low }) => [name, colour, dash, marker, endLabel, Boolean(low)]);
  const shape = JSON.stringify([isDark, zoom, height, isTime, hasLegend, sync, Boolean(onZoom), looks]);

  useLayoutEffect(() => {
    const element = host.current;
    const options = chartOptions({ series, height, zoom, isTime, formatX, isZoomed: Boolean(onZoom), hasLegend, labelX, sync, live });
    plot.current = new uPlot({ ...options, width: element.clientWidth || 300 }, columnsOf(x, series), element);
    const sizes = new ResizeObserver(() => plot.current.setSize({ width: element.clientWidth || 300, height }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      plot.current.destroy();
    };
  }, [shape]);

  useEffect(() => {
    plot.current.setData(columnsOf(x, series));
  }, [x, series, gaps, marks, range?.[0], range?.[1]]);

  return html`<figure class="chart" role="img" aria-label=${`${label}. ${summary}`}>
    <div ref=${host} aria-hidden="true" style=${{ minHeight: `${height}px` }} />
  </figure>`;
}

function columnsOf(x, series) {
  const bands = series.filter((each) => each.low).flatMap((each) => [each.high, each.low]);
  return [x, ...series.map((each) => each.values), ...bands];
}

/**
 * A small line without axes.
 * @param {{points: Array<number|null>, label: string, width?: number, height?: number}} props
 */
export function Sparkline({ points, label, width = 88, height = 20 }) {
  const known = points.filter((point) => point !== null);
  if (known.length < 2) return html`<span class="none" title="Too few points yet"><span class="hidden">too few points</span></span>`;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const scale = high > low ? (height - 4) / (high - low) : 0;
  const step = (width - 4) / (points.length - 1);
  let path = "";
  let isDown = false;
  points.forEach((point, at) => {
    if (point !== null) path += `${isDown ? "L" : "M"}${(2 + at * step).toFixed(1)} ${(height - 2 - (point - low) * scale).toFixed(1)}`;
    isDown = point !== null;
  });
  return html`<svg class="sparkline" width=${width} height=${height} role="img" aria-label=${label}>
    <path d=${path} fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round" />
  </svg>`;
}
