// A shared worker: one stream for all tabs of this browser.  A browser has only six
// connections to one service, and each stream holds one for good.

import { Stream } from "./stream.js";

// The last state of everything that a new tab cannot read elsewhere.
const last = new Map();
const alerts = [];
const MOST_ALERTS = 200;
const ports = new Set();

const stream = new Stream((name, data) => {
  if (name === "alert") alerts.splice(0, Math.max(0, alerts.push(data) - MOST_ALERTS));
  else if (name !== "greeks") last.set(name, data);
  for (const port of ports) port.postMessage([name, data]);
});
last.set("link", stream.link);

self.onconnect = ({ ports: [port] }) => {
  if (ports.size === 0) stream.open();
  // A person who opens a page has perhaps logged in.
  else stream.retry();
  ports.add(port);
  port.onmessage = ({ data }) => {
    if (data === "retry") stream.retry();
    if (data === "leave") leave(port);
  };
  for (const [name, data] of last) port.postMessage([name, data]);
  for (const data of alerts) port.postMessage(["alert", data]);
};

function leave(port) {
  ports.delete(port);
  if (ports.size === 0) stream.pause();
}
