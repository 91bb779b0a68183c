"""What people with assistive technology, or without a mouse, can use."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe

_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_EVERYTHING = {"type": "tag", "values": list(_RULES)}
# The other rules see the same in each scheme.
_COLOURS = {"type": "rule", "values": ["color-contrast"]}
_axe = Axe()

# The interactive parts of a page that a user can see, apart from those that one takes with
# the arrow keys once another part of their group has the focus.
_INTERACTIVE = """
() => {
    const parts = document.querySelectorAll(
        'a[href], button, input, select, textarea, summary, [role=button], [role=tab],'
        + '[role=slider], [role=grid], [tabindex]');
    const marks = [];
    for (const part of parts) {
        if (!part.checkVisibility({checkVisibilityCSS: true})) continue;
        if (part.disabled || part.closest('[inert]') || part.tabIndex < 0) continue;
        part.dataset.stop ??= `${part.tagName} ${marks.length} ${
            part.getAttribute('aria-label') ?? part.textContent.trim().slice(0, 30)}`;
        marks.push(part.dataset.stop);
    }
    return marks;
}
"""
# The next stop is the first one behind the place of the part that had the focus.
_FROM_THE_TOP = """
() => {
    const part = document.createElement('span');
    part.tabIndex = -1;
    document.body.prepend(part);
    part.focus();
    part.remove();
}
"""
_FOCUSED = """
() => {
    const part = document.activeElement;
    if (!part || part === document.body) return null;
    const style = getComputedStyle(part);
    const isSeen = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0)
        || style.boxShadow !== 'none';
    return [part.dataset.stop ?? part.tagName, isSeen];
}
"""


def assert_accessible(page):
    """Fail with what axe-core finds, in the light and in the dark scheme."""
    findings = []
    for scheme, rules in (("light", _EVERYTHING), ("dark", _COLOURS)):
        page.emulate_media(color_scheme=scheme)
        result = _axe.run(
            page, options={"runOnly": rules, "resultTypes": ["violations"]}
        )
        findings += [
            f"{scheme}: {each['id']}: {each['help']}: {len(each['nodes'])} parts, as "
            + each["nodes"][0]["html"][:200]
            for each in result.response["violations"]
        ]
    page.emulate_media(color_scheme=None)
    assert not findings, "\n".join(findings)


def tab_through(page, most=150):
    """Press Tab from the top of the page to its end; return the stops.

    Each stop has to show that it has the focus.
    """
    page.evaluate(_FROM_THE_TOP)
    stops = []
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate(_FOCUSED)
        if focused is None or focused[0] in stops[:-1]:
            page.evaluate(_FROM_THE_TOP)
            return stops
        stop, is_seen = focused
        if stop in stops:  # a field for a date has several
            continue
        assert is_seen, f"nothing shows that {stop} has the focus"
        stops.append(stop)
    raise AssertionError(f"more than {most} stops: {stops[-5:]}")


def assert_keyboard_reaches_all(page):
    """Fail with the interactive parts that Tab does not reach."""
    parts = page.evaluate(_INTERACTIVE)
    stops = tab_through(page)
    assert parts, "nothing is interactive"
    missed = [each for each in parts if each not in stops]
    assert not missed, f"Tab does not reach {missed}"
