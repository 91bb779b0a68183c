// From the history of a contract to the lines of a chart.

const NOTHING = [null, null, null];
const NO_POINT = [undefined, undefined, undefined];

/**
 * Return the points of one measure: `[time, value, low, high]`, ascending, with a value each.
 * @param {object} data Of one series of `/v1/greeks/history`.
 * @param {Array<object>} ticks That the page has seen since.
 */
export function pointsOf(data, ticks, measure) {
  // Of an interval the moment of its last tick, so that a point is where its value was true.
  const times = data.tick_time ?? data.time;
  const [lows, highs] = [data[`min_${measure}`], data[`max_${measure}`]];
  const points = [];
  data[measure]?.forEach((value, at) => {
    if (value !== null) points.push([times[at], value, lows?.[at] ?? value, highs?.[at] ?? value]);
  });
  const last = lastTime(data);
  for (const tick of ticks) {
    const value = tick[measure];
    if (tick.time > last && value !== null) points.push([tick.time, value, value, value]);
  }
  return points;
}

/** Return the time of the newest tick of an answer. */
export function lastTime(data) {
  return (data.tick_time ?? data.time).findLast((time) => time !== null) ?? -Infinity;
}

/**
 * Return the points with a break, `[time, null, null, null]`, where the line would say more than
 * is known: in each gap, and where no tick came for longer than `limitS`.
 */
export function broken(points, gaps, limitS) {
  const found = [];
  points.forEach((point, at) => {
    const before = points[at - 1];
    if (before && isApart(before[0], point[0], gaps, limitS)) found.push([(before[0] + point[0]) / 2, null, null, null]);
    found.push(point);
  });
  return found;
}

function isApart(from, to, gaps, limitS) {
  return to - from > limitS || gaps.some(([begin, end]) => begin < to && (end ?? Infinity) > from);
}

/**
 * Return several lists of points as columns over the same x.  `undefined`: the line has no point
 * there, and goes on; `null`: it is broken.
 * @returns {{x: Array<number>, columns: Array<{values, low, high}>}}
 */
export function aligned(lists) {
  const x = [...new Set(lists.flatMap((list) => list.map(([time]) => time)))].sort((one, two) => one - two);
  return { x, columns: lists.map((list) => columnsOf(list, x)) };
}

function columnsOf(list, x) {
  const columns = { values: [], low: [], high: [] };
  let next = 0;
  let isBroken = false;
  for (const time of x) {
    let point = isBroken ? NOTHING : NO_POINT;
    if (list[next]?.[0] === time) {
      point = list[next].slice(1);
      next += 1;
      // From the point before a break to the one after it, also where others have points.
      isBroken = list[next]?.[1] === null || (point[0] === null && next < list.length);
    }
    ["values", "low", "high"].forEach((name, at) => columns[name].push(point[at]));
  }
  return columns;
}
