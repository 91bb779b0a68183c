// The way of the ticks to the table, the disk behind it, and the machine.

import { html } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { age, bytes, count, milliseconds, moment, number } from "../../lib/format.js";
import { Badge } from "../../lib/parts.js";
import { pageState, status } from "../../lib/status.js";
import { Fact } from "./fact.js";

const FAR_DAYS = 3650;
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "short", year: "numeric", timeZone: "UTC" });

/** The panels of the writer, the database, the spool and the process. */
export function Store() {
  const all = status.value;
  if (all === null) return null;
  return html`<div class="columns stores">
    <${Panel} title="Database" badge=${databaseBadge(all.database)}><${Database} all=${all} /><//>
    <${Panel} title="Spool" badge=${spoolBadge(all.spool)}><${Spool} all=${all} /><//>
    <${Panel} title="Writer"><${Writer} all=${all} /><//>
    <${Panel} title="Process and clocks"><${Process} all=${all} /><//>
  </div>`;
}

function Panel({ title, badge, children }) {
  return html`<section class="panel" aria-label=${title}>
    <header><h2>${title}</h2>${badge && (pageState.value === "live" ? badge : html`<${Badge}>not known<//>`)}</header>
    <div class="body">${children}</div>
  </section>`;
}

function databaseBadge({ connected, last_error: error }) {
  return connected ? html`<${Badge} state="ok">connected<//>` : html`<${Badge} state="critical" title=${error}>away<//>`;
}

function spoolBadge({ rows, replaying, last_error: error }) {
  if (error) return html`<${Badge} state="warn" title=${error}>the disk refuses data<//>`;
  if (replaying) return html`<${Badge}>being stored in the database<//>`;
  return rows ? html`<${Badge}>ticks wait<//>` : html`<${Badge} state="ok">empty<//>`;
}

function Database({ all: { database, storage } }) {
  const free = storage.disk_free_bytes.database;
  return html`
    ${database.last_error && html`<p class="problem">${database.last_error}</p>`}
    <p class="note address" data-field="database.address" data-value=${database.address}>${database.address.split("?")[0]}</p>
    <dl class="readings">
      <${Fact} label="Size" field="storage.database_bytes" value=${storage.database_bytes} text=${bytes} />
      <${Fact} label="This month" title="Size of the present month of ticks, with indexes" field="storage.newest_month_bytes" value=${storage.newest_month_bytes} text=${bytes} />
      <${Fact} label="Growth" title="An estimate from the newest month" field="storage.growth_per_day_bytes" value=${storage.growth_per_day_bytes} text=${(size) => `${bytes(size)} a day`} />
      <${Fact} label="Months of ticks" title="Months in the database, months ahead included" field="storage.months" value=${storage.months}>
        ${storage.oldest_month && html`<span class="meta"> from ${MONTH.format(new Date(storage.oldest_month))}</span>`}
        ${storage.archived_months > 0 && html`<span class="meta"> \u00b7 ${storage.archived_months} in files</span>`}
      <//>
      <${Fact} label="Partitions ahead" title="Months after the present one that have a partition" field="database.partitions_ahead" value=${database.partitions_ahead} text=${monthsAhead} />
      <${Fact} label="Disk free" title=${free === undefined ? "Known of the bundled PostgreSQL only" : undefined} field="storage.disk_free_bytes.database" value=${free} text=${bytes}>
        ${free !== undefined && html`<span class="meta"> of ${bytes(storage.disk_size_bytes.database)}</span>`}
      <//>
      <${Fact} label="Disk full in" title="Days until the growth fills the disk of the bundled PostgreSQL" field="storage.days_left" value=${storage.days_left} text=${daysLeft} />
    </dl>
  `;
}

function daysLeft(days) {
  return days > FAR_DAYS ? "more than 10 years" : count(Math.floor(days), "day");
}

function monthsAhead(months) {
  return months < 0 ? "the present month has none" : count(months, "month");
}

function Spool({ all: { spool, storage, quarantine, ticks } }) {
  return html`
    ${spool.last_error && html`<p class="problem">${spool.last_error}</p>`}
    <dl class="readings">
      <${Fact} label="Ticks on disk" title="Ticks that are on disk and not in the database yet" field="spool.rows" value=${spool.rows} />
      <${Fact} label="Oldest" field="spool.oldest_at" value=${spool.oldest_at} text=${(at) => `${age(Math.max(0, now.value - Date.parse(at)) / 1000)} old`} />
      <${Fact} label="Size" field="spool.bytes" value=${spool.bytes} text=${bytes}><span class="meta"> of ${bytes(spool.max_bytes)}</span><//>
      <${Fact} label="Disk free" field="storage.disk_free_bytes.spool" value=${storage.disk_free_bytes.spool} text=${bytes}>
        ${storage.disk_size_bytes.spool !== undefined && html`<span class="meta"> of ${bytes(storage.disk_size_bytes.spool)}</span>`}
      <//>
      <${Fact} label="Spooled" title="Ticks that went to the disk since the service started" field="ticks.spooled" value=${sum(ticks.spooled)} />
      <${Fact} label="Stored from disk" title="Ticks of the spool that are in the table now" field="ticks.replayed" value=${sum(ticks.replayed)} />
      <${Fact} label="Quarantine" title="Rows that PostgreSQL refused" field="quarantine.waiting" value=${quarantine.waiting}>
        ${quarantine.waiting > 0 && html`<span class="meta"> \u00b7 <code>bin/run-ingest quarantine</code> shows them</span>`}
      <//>
    </dl>
  `;
}

function Writer({ all: { writer, memory, ticks } }) {
  return html`<dl class="readings">
    <${Fact} label="Received" title="Ticks since the service started" field="ticks.received" value=${sum(ticks.received)} />
    <${Fact} label="Duplicates" title="Of the received ones: the broker sent them again" field="ticks.duplicates" value=${sum(ticks.duplicates)} />
    <${Fact} label="In the table" title="Also those from the spool of an earlier run" field="ticks.persisted" value=${sum(ticks.persisted)} />
    <${Fact} label="Lost" title="Ticks that are stored nowhere" field="ticks.lost" value=${ticks.lost} />
    <${Fact} label="Backlog" title="Ticks in memory that are not stored yet" field="writer.backlog" value=${writer.backlog}>
      <span class="meta"> \u00b7 at most ${number(writer.backlog_peak)} so far</span>
    <//>
    <${Fact} label="Memory of the backlog" field="memory.backlog_bytes" value=${memory.backlog_bytes} text=${bytes}>
      <span class="meta"> of ${bytes(memory.backlog_max_bytes)}</span>
    <//>
    <${Fact} label="Journal" title="Gaps, positions and account values that are not stored yet" field="writer.journal_waiting" value=${writer.journal_waiting} text=${(waiting) => `${number(waiting)} waiting`} />
    <${Fact} label="Flushes" title="Writes to the database since the service started" field="writer.flushes" value=${writer.flushes}>
      <span class="meta"> \u00b7 the largest had ${count(writer.largest_flush, "tick")}</span>
    <//>
    <${Fact} label="Retries" title="Writes that were tried again" field="writer.retries" value=${writer.retries} />
  </dl>`;
}

function Process({ all: { version, started_at: startedAt, memory, tasks, log, clock } }) {
  const differences = Object.entries(clock.difference_s);
  return html`<dl class="readings">
    <${Fact} label="Version" field="version" value=${version} text=${String} />
    <${Fact} label="Running for" field="started_at" value=${startedAt} text=${(at) => age(Math.max(0, now.value - Date.parse(at)) / 1000)}>
      <span class="meta"> since ${moment(startedAt)}</span>
    <//>
    <${Fact} label="Memory" title="Resident memory of the process" field="memory.resident_bytes" value=${memory.resident_bytes} text=${bytes} />
    <${Fact} label="Buffers" title="The most memory that all buffers together can take" field="memory.buffers_max_bytes" value=${memory.buffers_max_bytes} text=${(size) => `at most ${bytes(size)}`} />
    <${Fact} label="Tasks" title="A number that grows for days is a leak" field="tasks" value=${tasks} />
    <${Fact} label="Lines of the log left out" title="stderr did not take them in time" field="log.lines_dropped" value=${log.lines_dropped} />
    <${Fact} label="Correction of the clock" title="Seconds that are added to the clock of this machine, because it is wrong" field="clock.correction_s" value=${clock.correction_s} text=${seconds} />
    ${differences.map(
      ([name, value]) => html`<${Fact}
        key=${name}
        label=${`Clock of ${name}`}
        title="Its difference from the clock of the machine of the service"
        field=${`clock.difference_s.${name}`}
        value=${value}
        text=${seconds}
      />`,
    )}
  </dl>`;
}

function seconds(value) {
  return `${value < 0 ? "\u2212" : value > 0 ? "+" : ""}${milliseconds(Math.abs(value) * 1000)}`;
}

function sum(numbers) {
  return Object.values(numbers).reduce((total, each) => total + each, 0);
}
