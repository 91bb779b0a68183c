"""The media types of the answers, also for programs that do not serve them."""

from typing import Final

JSON: Final = "application/json"
# A problem as in RFC 9457.
PROBLEM_JSON: Final = "application/problem+json"
