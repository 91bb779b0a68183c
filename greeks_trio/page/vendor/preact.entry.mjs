// Preact with its hooks, signals and templates in one module: one request, one copy.
import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);
export { Component, Fragment, createContext, h, render } from "preact";
export {
  useContext,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "preact/hooks";
export { batch, computed, effect, signal, untracked, useComputed, useSignal } from "@preact/signals";
