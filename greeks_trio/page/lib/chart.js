// Charts: uPlot with the page's colours, shaded gaps, and words for those who do not see it.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import uPlot from "../vendor/uplot.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

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
 * A chart of lines.
 *
 * @param {object} props
 * @param {string} props.label What it shows; with `summary` it is the text for screen readers.
 * @param {string} props.summary The main facts in words.
 * @param {Array<number>} props.x Seconds since 1970 if `isTime`, else any numbers, ascending.
 * @param {Array<Series>} props.series `{label, values, format, colour, dash, points, low, high}`:
 *   `values` with `null` where nothing is known; `colour` a token such as `--series-1`;
 *   `low` and `high` draw a band.
 * @param {Array<[number, number]>} props.gaps Intervals of x that are shaded.
 * @param {number} props.height Pixels.
 * @param {(from: number, to: number) => void} props.onZoom A range was dragged.
 * @param {(x: number) => string} props.formatX Of the axis, if not times.
 */
export function Chart({ label, summary = "", x, series, gaps = [], height = 240, isTime = true, onZoom, formatX }) {
  const host = useRef(null);
  const plot = useRef(null);
  const zoom = useRef(onZoom);
  const shaded = useRef(gaps);
  const isDark = useDark();
  zoom.current = onZoom;
  shaded.current = gaps;
  const shape = JSON.stringify([isDark, height, isTime, Boolean(onZoom), series.map(({ label: name, colour: line, dash, low }) => [name, line, dash, Boolean(low)])]);

  useLayoutEffect(() => {
    const element = host.current;
    const options = chartOptions({ series, height, isTime, formatX, isZoomed: Boolean(onZoom), zoom, shaded });
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
  }, [x, series, gaps]);

  return html`<figure class="chart" role="img" aria-label=${`${label}. ${summary}`}>
    <div ref=${host} aria-hidden="true" style=${{ minHeight: `${height}px` }} />
  </figure>`;
}

function columnsOf(x, series) {
  const bands = series.filter((each) => each.low).flatMap((each) => [each.high, each.low]);
  return [x, ...series.map((each) => each.values), ...bands];
}

function chartOptions({ series, height, isTime, formatX, isZoomed, zoom, shaded }) {
  const grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--muted"), font: "11px Inter, system-ui, sans-serif", grid, ticks: { ...grid, size: 4 } };
  const format = series[0]?.format ?? String;
  const lines = series.map((each, at) => lineOf(each, at));
  const bandLines = series.flatMap((each, at) => (each.low ? bandEdges(each, at) : []));
  const bands = [];
  series.forEach((each, at) => {
    if (!each.low) return;
    const edge = 1 + series.length + bands.length * 2;
    bands.push({ series: [edge, edge + 1], fill: `${colour(each.colour ?? `--series-${at + 1}`)}26` });
  });
  return {
    height,
    series: [{ label: isTime ? "Time" : "", value: (_, value) => (value === null ? "" : formatX ? formatX(value) : timeText(value)) }, ...lines, ...bandLines],
    bands,
    scales: { x: { time: isTime } },
    axes: [
      { ...axis, ...(formatX && !isTime ? { values: (_, values) => values.map(formatX) } : {}) },
      { ...axis, size: 62, values: (_, values) => values.map((value) => (value === null ? "" : format(value))) },
    ],
    cursor: { drag: { x: isZoomed, y: false, setScale: false }, points: { size: 6 } },
    legend: { live: true },
    hooks: {
      drawClear: [(chart) => shade(chart, shaded.current)],
      setSelect: [
        (chart) => {
          const { left, width } = chart.select;
          if (width < 4) return;
          zoom.current?.(chart.posToVal(left, "x"), chart.posToVal(left + width, "x"));
          chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        },
      ],
    },
  };
}

function lineOf({ label, format = String, colour: token, dash, points = false, stepped = false }, at) {
  return {
    label,
    stroke: colour(token ?? `--series-${at + 1}`),
    width: 1.6,
    dash,
    points: { show: points, size: 5 },
    paths: stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
    value: (_, value) => (value === null || value === undefined ? "\u2013" : format(value)),
  };
}

function bandEdges({ colour: token }, at) {
  const stroke = `${colour(token ?? `--series-${at + 1}`)}55`;
  return ["highest", "lowest"].map((label) => ({ label, stroke, width: 0.6, points: { show: false }, class: "edge" }));
}

function shade(chart, gaps) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.fillStyle = colour("--gap-shade");
  for (const [from, to] of gaps) {
    const left = Math.max(chart.valToPos(from, "x", true), bbox.left);
    const right = Math.min(chart.valToPos(to, "x", true), bbox.left + bbox.width);
    if (right > left) ctx.fillRect(left, bbox.top, Math.max(right - left, 2), bbox.height);
  }
  ctx.restore();
}

function timeText(seconds) {
  return new Date(seconds * 1000).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
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
