// How much larger than usual the page is on a very large screen: `--zoom` of css/tokens.css.

import { useEffect, useState } from "../vendor/preact.js";

/** Return the factor of now. */
export function zoom() {
  return Number(getComputedStyle(document.documentElement).getPropertyValue("--zoom")) || 1;
}

/** The factor; a window that is moved to another screen changes it. */
export function useZoom() {
  const [factor, setFactor] = useState(zoom);
  useEffect(() => {
    const follow = () => setFactor(zoom());
    addEventListener("resize", follow);
    return () => removeEventListener("resize", follow);
  }, []);
  return factor;
}
