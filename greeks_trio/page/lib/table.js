// A table: sorted by a click, driven by the keyboard, and drawn only where it is visible.

import { computed, html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { remember, remembered, usePlace } from "./places.js";

const ROW_PX = 30;
// Rows that are drawn beyond the edges, so that scrolling shows no hole.
const SPARE = 8;
// The drawn part changes by so many rows at a time.
const STEP = 4;
// Within this time a row that was opened gets the focus again.
const RETURN_MS = 1500;
// Shorter tables are drawn whole.
const VIRTUAL_FROM = 80;

/**
 * @param {object} props
 * @param {string} props.caption The name for screen readers.
 * @param {Array<Column>} props.columns `{id, label, title, width, left, look, sort, cell, narrow}`:
 *   `width` in pixels, `sort(row)` the value to sort by, `cell(row)` the content,
 *   `look`: a class of its cells, `narrow`: the width on a narrow screen, or `false` to leave the column out there.  The first
 *   one is the row's name.
 * @param {Array<object>} props.rows In the wanted order if no column is sorted by.  A row with
 *   `isGroup` is a heading; one with `isTotal` stays at its place.
 * @param {(row) => string} props.rowKey
 * @param {string} props.sort `id` or `-id` of the column that orders the rows.
 * @param {(sort: string) => void} props.onSort
 * @param {(row) => void} props.onOpen Opens a row, by click and by Enter.
 * @param {(row) => string} props.rowClass
 * @param {boolean} props.tall Scrolls inside; for many rows.
 * @param {boolean} props.isOrdered The rows have the order of `sort` already.
 * @param {(row) => any} props.version For rows that change in place: reads signals, and gives
 *   another value when the row has changed.  Such a row is drawn only then, so the columns and
 *   all functions have to be the same ones in each drawing.
 */
export function Table({ caption, columns, rows, rowKey, sort, onSort, onOpen, rowClass = noClass, tall = false, isOrdered = false, version }) {
  const scroller = useRef(null);
  const isNarrow = useNarrow();
  const shown = useMemo(() => (isNarrow ? narrowed(columns) : columns), [columns, isNarrow]);
  const ordered = sort && !isOrdered ? sortRows(rows, columns, sort) : rows;
  const isVirtual = tall && ordered.length > VIRTUAL_FROM;
  const [first, last] = useWindow(scroller, ordered.length, isVirtual);
  usePlace(scroller, `table ${caption}`);
  const focus = useRowFocus(scroller, ordered, rowKey);
  const width = shown.reduce((sum, column) => sum + column.width, 0);

  return html`<div class=${`scroller ${tall ? "tall" : ""}`} ref=${scroller} onKeyDown=${focus.onKeyDown}>
    <table class="table" style=${{ minWidth: `${width}px` }} aria-rowcount=${ordered.length + 1}>
      <caption class="hidden">${caption}</caption>
      <colgroup>
        ${shown.map((column) => html`<col key=${column.id} style=${{ width: `${column.width}px` }} />`)}
      </colgroup>
      <thead>
        <tr aria-rowindex="1">
          ${shown.map((column) => html`<${Heading} key=${column.id} ...${{ column, sort, onSort }} />`)}
        </tr>
      </thead>
      <tbody>
        ${first > 0 && html`<${Spacer} key="above" rows=${first} columns=${shown.length} />`}
        ${ordered.slice(first, last).map((row, index) => {
          const key = rowKey(row);
          const tabIndex = focus.tabIndex(key, first + index);
          const at = first + index + 2;
          return html`<${Row} key=${key} ...${{ name: key, row, at, columns: shown, tabIndex, onFocus: focus.onFocus, onOpen, rowClass, version }} />`;
        })}
        ${last < ordered.length && html`<${Spacer} key="below" rows=${ordered.length - last} columns=${shown.length} />`}
      </tbody>
    </table>
  </div>`;
}

function narrowed(columns) {
  return columns.filter(({ narrow: width }) => width !== false).map((column) => ({ ...column, width: column.narrow ?? column.width }));
}

function Row({ name, row, at, columns, tabIndex, onFocus, onOpen, rowClass, version }) {
  const own = useMemo(() => (version ? computed(() => version(row)) : null), [row, version]);
  own?.value;
  const opens = onOpen && !row.isGroup && !row.isTotal;
  const open = () => {
    remember("row", name);
    onOpen(row);
  };
  return html`<tr
    data-key=${name}
    class=${`${opens ? "opens" : ""} ${row.isGroup ? "group" : ""} ${row.isTotal ? "total" : ""} ${rowClass(row)}`}
    aria-rowindex=${at}
    tabindex=${tabIndex}
    onFocus=${() => onFocus(name)}
    onClick=${opens && ((event) => (event.target.closest("a") ? remember("row", name) : event.target.closest("button") || open()))}
    onKeyDown=${opens && ((event) => event.key === "Enter" && event.target === event.currentTarget && open())}
  >
    ${columns.map((column, place) => html`<${Cell} key=${column.id} ...${{ column, row, isName: place === 0 }} />`)}
  </tr>`;
}

function noClass() {
  return "";
}

function Heading({ column, sort = "", onSort }) {
  const isSorted = sort.replace(/^-/, "") === column.id;
  const direction = isSorted ? (sort.startsWith("-") ? "descending" : "ascending") : undefined;
  // The first click shows the largest numbers, or names from A.
  const next = isSorted ? (sort.startsWith("-") ? column.id : `-${column.id}`) : column.left ? column.id : `-${column.id}`;
  return html`<th scope="col" class=${lookOf(column)} title=${column.title} aria-sort=${direction}>
    ${column.sort && onSort
      ? html`<button type="button" onClick=${() => onSort(next)}>${column.label}</button>`
      : html`<span class="title">${column.label}</span>`}
  </th>`;
}

function Cell({ column, row, isName }) {
  const content = column.cell(row);
  const look = lookOf(column);
  if (isName) return html`<th scope="row" class=${look} data-column=${column.id}>${content}</th>`;
  return html`<td class=${look} data-column=${column.id}>${content}</td>`;
}

function lookOf({ left, look = "" }) {
  return left ? `left ${look}` : look;
}

function Spacer({ rows, columns }) {
  return html`<tr class="spacer" aria-hidden="true"><td colspan=${columns} style=${{ height: `${rows * ROW_PX}px` }} /></tr>`;
}

/** Return the rows in the order of a column; rows without a value are last in both directions. */
export function sortRows(rows, columns, sort) {
  const column = columns.find((each) => each.id === sort.replace(/^-/, ""));
  if (!column?.sort) return rows;
  const sign = sort.startsWith("-") ? -1 : 1;
  const compare = (one, other) => {
    if (one.isTotal || other.isTotal) return Number(one.isTotal ?? false) - Number(other.isTotal ?? false);
    const [a, b] = [column.sort(one), column.sort(other)];
    if (a === b) return 0;
    if (a === null || a === undefined) return 1;
    if (b === null || b === undefined) return -1;
    return sign * (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  };
  return [...rows].sort(compare);
}

// The first and the last row to draw.
function useWindow(scroller, total, isVirtual) {
  const [range, setRange] = useState([0, 60]);
  useLayoutEffect(() => {
    if (!isVirtual) return undefined;
    const element = scroller.current;
    const measure = () => {
      const top = Math.floor(element.scrollTop / (ROW_PX * STEP)) * STEP;
      const first = Math.max(0, top - SPARE);
      const last = top + STEP + Math.ceil(element.clientHeight / ROW_PX) + SPARE;
      setRange((old) => (old[0] === first && old[1] === last ? old : [first, last]));
    };
    measure();
    element.addEventListener("scroll", measure, { passive: true });
    const sizes = new ResizeObserver(measure);
    sizes.observe(element);
    return () => {
      element.removeEventListener("scroll", measure);
      sizes.disconnect();
    };
  }, [isVirtual]);
  return isVirtual ? [Math.min(range[0], total), Math.min(range[1], total)] : [0, total];
}

// One row has the focus; the arrow keys move it.
function useRowFocus(scroller, rows, rowKey) {
  // After Back, the row that was opened has it again.
  const [current, setCurrent] = useState(() => remembered("row") ?? null);
  const wanted = useRef(current);
  useEffect(() => {
    const timer = setTimeout(() => (wanted.current = null), RETURN_MS);
    return () => clearTimeout(timer);
  }, []);
  const hasCurrent = rows.some((row) => rowKey(row) === current);

  useEffect(() => {
    if (wanted.current === null) return;
    const row = scroller.current.querySelector(`tr[data-key="${CSS.escape(wanted.current)}"]`);
    if (row === null) return;
    wanted.current = null;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  });

  const onKeyDown = (event) => {
    const key = event.target.closest?.("tbody tr")?.dataset.key;
    if (key === undefined || event.target.tagName !== "TR") return;
    const at = rows.findIndex((row) => rowKey(row) === key);
    const page = Math.max(1, Math.floor(scroller.current.clientHeight / ROW_PX) - 2);
    const targets = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: rows.length - 1 };
    const target = targets[event.key];
    if (target === undefined) return;
    event.preventDefault();
    const bounded = Math.min(Math.max(target, 0), rows.length - 1);
    wanted.current = rowKey(rows[bounded]);
    // A row outside the drawn part appears when it is scrolled to.
    const top = bounded * ROW_PX;
    const { scrollTop, clientHeight } = scroller.current;
    if (top < scrollTop || top > scrollTop + clientHeight - 3 * ROW_PX) scroller.current.scrollTop = top - clientHeight / 2;
    setCurrent(wanted.current);
  };
  return {
    onKeyDown,
    onFocus: setCurrent,
    tabIndex: (key, index) => (key === current || (!hasCurrent && index === 0) ? 0 : -1),
  };
}

const narrow = matchMedia("(max-width: 700px)");

/** Whether the screen is a narrow one, such as that of a phone. */
export function useNarrow() {
  const [isNarrow, setNarrow] = useState(narrow.matches);
  useEffect(() => {
    const follow = () => setNarrow(narrow.matches);
    narrow.addEventListener("change", follow);
    return () => narrow.removeEventListener("change", follow);
  }, []);
  return isNarrow;
}
