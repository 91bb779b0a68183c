"""One test over many values, where a test for each would cost more than the check."""

from __future__ import annotations

from functools import wraps


def for_each(values):
    """Run the test with every value, and fail with all of its failures at once.

    ``for_each([])`` fails: a test that checks nothing proves nothing.
    """
    values = list(values)

    def decorate(test):
        @wraps(test)
        def run():
            assert values
            failures = []
            for value in values:
                try:
                    test(value)
                except AssertionError as exc:
                    exc.add_note(f"with {value}")
                    failures.append(exc)
            if failures:
                raise ExceptionGroup(f"{len(failures)} of {len(values)}", failures)

        del run.__wrapped__  # pytest would ask for its argument
        return run

    return decorate
