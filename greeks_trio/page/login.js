// The login form: it exchanges the token for the cookie of a session, and loads the same
// address again.  The part of the address behind the # stays.
// The script runs before the form is there, so no entry is too early for it.

const find = (id) => document.getElementById(id);
const LIMIT_MS = 10_000;
const RELOADED = "login-reloaded-at";

function show(text) {
  const field = find("token");
  find("problem").textContent = text;
  field.setAttribute("aria-invalid", text ? "true" : "false");
  if (text) {
    field.focus();
    field.select();
  }
}

function setBusy(isBusy) {
  const button = find("enter");
  // Not `disabled`, which would take the focus away.
  button.setAttribute("aria-disabled", String(isBusy));
  button.textContent = isBusy ? "Logging in …" : "Log in";
}

async function ask(token) {
  const response = await fetch("/v1/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  if (response.ok) return "";
  if (response.status === 401) return "The service does not accept this token. Check it and try again.";
  return `The service refused the login with status ${response.status}. Its log may say more.`;
}

async function logIn() {
  const token = find("token").value.trim();
  if (!token) return show("Enter the token.");
  show("");
  setBusy(true);
  try {
    const refusal = await ask(token);
    if (!refusal) return location.reload();
    show(refusal);
  } catch {
    show("The service does not answer. Check that it runs, and try again.");
  }
  setBusy(false);
}

// A link of another site arrives without the cookie; a reload of our own has it.
async function enterIfOpen() {
  const response = await fetch("/v1/session", { signal: AbortSignal.timeout(LIMIT_MS) });
  const { session_open: isOpen } = await response.json();
  const last = Number(sessionStorage.getItem(RELOADED) ?? 0);
  // Not again and again, should a browser leave the cookie out of the reload, too.
  if (isOpen && Math.abs(Date.now() - last) > LIMIT_MS) {
    sessionStorage.setItem(RELOADED, Date.now());
    location.reload();
  }
}

document.addEventListener("submit", (event) => {
  event.preventDefault();
  if (find("enter").getAttribute("aria-disabled") !== "true") logIn();
});
document.addEventListener("DOMContentLoaded", () => {
  find("not-encrypted").hidden = isSecureContext;
});
enterIfOpen().catch(() => {});  // The form is there anyway.
