// How uPlot draws the charts of the page: colours, axes, markers, shades and marks.

import uPlot from "../vendor/uplot.js";

const FONT_PX = 11;
const MARKER_PX = 7;
const LABEL_ROOM_PX = 64;
const LABEL_LINE_PX = 13;
// The last label of the axis stands half beyond the chart.
const HALF_LABEL_PX = 20;
// The labels of numbers need one line below the chart, those of times two.
const ONE_LINE_PX = 34;
const TWO_LINES_PX = 50;
const NUMBERS_PX = 62;

// The labels of a time axis for each least step: the usual one, then with a new year, month,
// day, hour, minute and second.
const TIME_LABELS = [
  [31_536_000, "{YYYY}", null, null, null, null, null, null, 1],
  [2_419_200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86_400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, ":{ss}", "\n{D} {MMM} {YYYY} {HH}:{mm}", null, "\n{D} {MMM} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
  [0.001, ":{ss}.{fff}", "\n{D} {MMM} {YYYY} {HH}:{mm}", null, "\n{D} {MMM} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Return the options of uPlot; `live` is a reference to what may change without a new chart. */
export function chartOptions({ series, height, zoom, isTime, formatX, isZoomed, hasLegend, labelX, sync, live }) {
  const grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--muted"), font: fontOf(zoom), grid, ticks: { ...grid, size: 4 } };
  const format = series[0]?.format ?? String;
  const xLabels = isTime ? { values: TIME_LABELS } : formatX ? { values: (_, values) => values.map(formatX) } : {};
  return {
    height,
    padding: [8, zoom * (series.some((each) => each.endLabel) ? LABEL_ROOM_PX : HALF_LABEL_PX), 0, 0],
    series: [{ label: labelX ?? (isTime ? "Time" : ""), value: (chart, value, _, at) => xText(at === null ? chart.data[0].at(-1) : value, formatX) }, ...series.map(lineOf), ...bandLines(series)],
    bands: bandsOf(series),
    scales: { x: { time: isTime, range: (_, low, high) => live.current.range ?? widened(low, high) }, y: { range: heightOf } },
    axes: [
      { ...axis, ...xLabels, size: zoom * (isTime ? TWO_LINES_PX : ONE_LINE_PX), space: zoom * 50 },
      { ...axis, size: zoom * NUMBERS_PX, space: zoom * 30, values: (_, values, place, space, step) => values.map((value) => (value === null ? "" : format(value, step))) },
    ],
    cursor: { y: !sync, drag: { x: isZoomed, y: false, setScale: false }, points: { size: 6 }, ...(sync ? { sync: syncOf(sync) } : {}) },
    legend: { show: hasLegend, live: true, markers: { dash: (chart, at) => (chart.series[at].dash ? "dashed" : "solid") } },
    hooks: {
      drawClear: [(chart) => shade(chart, live.current.gaps)],
      drawAxes: [drawZero],
      draw: [(chart) => drawMarks(chart, live.current.marks, zoom), (chart) => drawEndLabels(chart, live.current.series, zoom)],
      ready: [(chart) => restLegend(chart, live.current.restX)],
      setData: [(chart) => restLegend(chart, live.current.restX)],
      setCursor: [(chart) => live.current.onCursor?.(chart.cursor.idx ?? null), (chart) => restLegend(chart, live.current.restX)],
      setSelect: [(chart) => zoomTo(chart, live.current.onZoom)],
    },
  };
}

// Several charts show the same moment; a range is dragged in one of them only.
function syncOf(key) {
  return { key, setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } };
}

// Without a pointer, the values at one place.
function restLegend(chart, x) {
  if (x !== undefined && (chart.cursor.idx ?? null) === null) chart.setLegend({ idx: chart.valToIdx(x) }, false);
}

// A single point has room around it.
function widened(low, high) {
  if (low === null || low < high) return [low, high];
  const room = Math.abs(low) / 100 || 1;
  return [low - room, high + room];
}

// Of values that do not change, the page shows no more digits than there are.
function heightOf(_, low, high) {
  if (low === null) return [null, null];
  return low < high ? uPlot.rangeNum(low, high, 0.1, true) : widened(low, high);
}

function zoomTo(chart, onZoom) {
  const { left, width } = chart.select;
  if (width < 4) return;
  onZoom?.(chart.posToVal(left, "x"), chart.posToVal(left + width, "x"));
  chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
}

function tokenOf(series, at) {
  return series.colour ?? `--series-${at + 1}`;
}

function lineOf(each, at) {
  const { label, format = String, dash, points = false, stepped = false, marker, hasLine = true, spansGaps = false } = each;
  const stroke = colour(tokenOf(each, at));
  return {
    label,
    stroke,
    width: 1.6,
    // Whole pixels would give kinks to a smooth curve.
    pxAlign: 0,
    dash,
    spanGaps: spansGaps,
    points: marker ? markerOf(marker, stroke) : points === "alone" ? { show: false, filter: alone, size: 5 } : { show: points, size: 5 },
    paths: !hasLine ? () => null : stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
    // Without a pointer, the legend has the newest value.
    value: (chart, value, series, at) => valueText(at === null ? chart.data[series].findLast((each) => each !== null && each !== undefined) : value, format),
  };
}

function valueText(value, format) {
  return value === null || value === undefined ? "\u2013" : format(value);
}

function xText(value, formatX) {
  if (value === null || value === undefined) return "";
  return formatX ? formatX(value) : timeText(value);
}

// The points that no line reaches: between two nulls.
function alone(chart, index) {
  const values = chart.data[index];
  const [first, last] = chart.series[0].idxs;
  const found = [];
  let before = null;
  let candidate = -1;
  for (let at = first; at <= last; at += 1) {
    const value = values[at];
    if (value === undefined) continue;
    if (value === null && candidate >= 0) found.push(candidate);
    candidate = value !== null && before === null ? at : -1;
    before = value;
  }
  if (candidate >= 0) found.push(candidate);
  return found.length ? found : null;
}

// `circle`, `square` and `cross`; `-open` has no filling.
function markerOf(marker, stroke) {
  const [shape, look] = marker.split("-");
  const fill = look === "open" ? colour("--panel") : stroke;
  return { show: true, size: MARKER_PX, width: 1.4, stroke, fill, paths: (chart, index, first, last) => markerPaths(chart, index, first, last, SHAPES[shape]) };
}

const SHAPES = {
  circle: (path, x, y, half) => {
    path.moveTo(x + half, y);
    path.arc(x, y, half, 0, 2 * Math.PI);
  },
  square: (path, x, y, half) => path.rect(x - half * 0.9, y - half * 0.9, half * 1.8, half * 1.8),
  cross: (path, x, y, half) => {
    path.moveTo(x - half, y - half);
    path.lineTo(x + half, y + half);
    path.moveTo(x + half, y - half);
    path.lineTo(x - half, y + half);
  },
};

function markerPaths(chart, index, first, last, draw) {
  const path = new Path2D();
  const half = (MARKER_PX / 2) * devicePixelRatio;
  const [xs, ys] = [chart.data[0], chart.data[index]];
  for (let at = first; at <= last; at += 1) {
    if (ys[at] === null || ys[at] === undefined) continue;
    draw(path, chart.valToPos(xs[at], "x", true), chart.valToPos(ys[at], "y", true), half);
  }
  return { stroke: path, fill: path, flags: 3 };
}

function bandLines(series) {
  return series.flatMap((each, at) => {
    if (!each.low) return [];
    const stroke = `${colour(tokenOf(each, at))}55`;
    return ["highest", "lowest"].map((label) => ({ label, stroke, width: 0.6, points: { show: false }, class: "edge" }));
  });
}

function bandsOf(series) {
  const bands = [];
  series.forEach((each, at) => {
    if (!each.low) return;
    const edge = 1 + series.length + bands.length * 2;
    bands.push({ series: [edge, edge + 1], fill: `${colour(tokenOf(each, at))}26` });
  });
  return bands;
}

// Each is `[from, to, token]`; the token names the colour of the shade.
function shade(chart, gaps) {
  const { ctx, bbox } = chart;
  ctx.save();
  for (const [from, to, token = "--gap-shade"] of gaps) {
    const left = Math.max(chart.valToPos(from, "x", true), bbox.left);
    const right = Math.min(chart.valToPos(to, "x", true), bbox.left + bbox.width);
    if (right < left) continue;
    ctx.fillStyle = colour(token);
    ctx.fillRect(left, bbox.top, Math.max(right - left, 2), bbox.height);
  }
  ctx.restore();
}

// Between gains and losses.
function drawZero({ ctx, bbox, scales, valToPos }) {
  if (!(scales.y.min < 0 && scales.y.max > 0)) return;
  ctx.fillStyle = colour("--strong-line");
  ctx.fillRect(bbox.left, Math.round(valToPos(0, "y", true)), bbox.width, devicePixelRatio);
}

function drawMarks(chart, marks, zoom) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("--muted");
  ctx.lineWidth = devicePixelRatio;
  ctx.font = fontOf(zoom * devicePixelRatio);
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  for (const { x, label } of marks) {
    const left = chart.valToPos(x, "x", true);
    if (!(left >= bbox.left && left <= bbox.left + bbox.width)) continue;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillText(label, besideMark(left, ctx.measureText(label).width, bbox), bbox.top);
  }
  ctx.restore();
}

// Right of the line, else left of it; where both are too narrow, at the right edge.
function besideMark(left, width, bbox) {
  const gap = 4 * devicePixelRatio;
  const edge = bbox.left + bbox.width;
  if (left + gap + width <= edge) return left + gap;
  return left - gap - width >= bbox.left ? left - gap - width : edge - width;
}

// The names of lines beside the chart, each at the height of its last value, none upon another.
function drawEndLabels(chart, series, zoom) {
  const labels = series.flatMap((each, at) => {
    const last = each.endLabel ? each.values.findLastIndex((value) => value !== null) : -1;
    if (last < 0) return [];
    return [{ text: each.endLabel, y: chart.valToPos(each.values[last], "y", true), fill: colour(tokenOf(each, at)) }];
  });
  const { ctx, bbox } = chart;
  const x = bbox.left + bbox.width + 6 * devicePixelRatio;
  ctx.save();
  ctx.font = fontOf(zoom * devicePixelRatio);
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  let lowest = -Infinity;
  for (const { text, y, fill } of labels.sort((one, other) => one.y - other.y)) {
    lowest = Math.max(y, lowest + LABEL_LINE_PX * zoom * devicePixelRatio);
    ctx.fillStyle = fill;
    ctx.fillText(text, x, lowest);
  }
  ctx.restore();
}

function fontOf(scale) {
  return `${FONT_PX * scale}px Inter, system-ui, sans-serif`;
}

function timeText(seconds) {
  return new Date(seconds * 1000).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
}
