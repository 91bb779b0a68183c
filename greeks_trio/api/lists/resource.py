"""One declaration for each list of the interface.

From it come the route, the parameters and their checks, the OpenAPI description, the
cursor, the statement for PostgreSQL and the exports.  A new list is a new declaration in
`greeks_trio.api.lists.resources`, over a table, a view or a function of the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from greeks_trio.api.lists.columns import ListColumn
from greeks_trio.api.lists.parameters import ListParams, Parameter
from greeks_trio.postgres.reads.listing import Key, Listing
from greeks_trio.postgres.reads.sources import MakeSource


class ListFilter(msgspec.Struct, frozen=True):
    """The rows of one list that a request wants.

    Attributes:
        resource: The name of the list.
        values: By parameter; `None` lets every row pass.
    """

    resource: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListResource:
    """A list, as it is declared.

    Attributes:
        name: Its operation in the OpenAPI description.
        about: Its description there.
        file_name: Of an export, without the ending.
        keys: Its order; unique together.
        extras: Columns that come only if `include` names them.
    """

    path: str
    name: str
    tag: str
    about: str
    file_name: str
    source: MakeSource
    parameters: Sequence[Parameter]
    columns: Sequence[ListColumn]
    keys: Sequence[Key]
    extras: Mapping[str, ListColumn] = field(default_factory=dict)

    def wanted(self, **values: Any) -> ListFilter:  # noqa: ANN401
        """Return the filter with these values of parameters."""
        names = {each.name: None for each in self.parameters}
        assert values.keys() <= names.keys()  # noqa: S101  # the model has checked them
        return ListFilter(self.name, names | values)

    def wanted_by(self, params: ListParams) -> ListFilter:
        """Return the filter that a query asks for."""
        return self.wanted(
            **{each.name: getattr(params, each.name) for each in self.parameters}
        )

    def listing(
        self,
        wanted: ListFilter,
        *,
        include: str | None = None,
        stale_after_s: float,
    ) -> Listing:
        """Return the list for PostgreSQL.

        Args:
            wanted: The filter of the rows.
            include: The name of one of the `extras`.
            stale_after_s: The age from which a contract is stale.
        """
        conditions = [
            each.condition(wanted.values[each.name])
            for each in self.parameters
            if each.condition is not None and wanted.values[each.name] is not None
        ]
        extra = [] if include is None else [self.extras[include]]
        return Listing(
            columns=(*self.columns, *extra),
            keys=self.keys,
            source=self.source(wanted.values, stale_after_s),
            conditions=conditions,
        )
