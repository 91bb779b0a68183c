"""Settings from several places, of which a later one wins.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

from greeks_trio.config.secret import FILE_SUFFIX


class Layers:
    """Settings from several places; a later place wins.

    Attributes:
        texts: The text of each setting.
        places: The place of each, for messages.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self._read_by_service: set[str] = set()

    def add(
        self,
        settings: Mapping[str, str],
        place: str,
        *,
        leave: tuple[str, ...] = (),
        is_read_by_service: bool = False,
    ) -> None:
        """Add the settings of a place that wins over the earlier ones.

        Args:
            settings: The texts.
            place: The place in words.
            leave: Settings that do not count.
            is_read_by_service: Whether the service reads the place itself.
        """
        for name, text in settings.items():
            if name.removesuffix(FILE_SUFFIX) in leave:
                continue
            # A secret and the file with it are one setting.
            for same in (name.removesuffix(FILE_SUFFIX), f"{name}{FILE_SUFFIX}"):
                self.texts.pop(same, None)
            self.texts[name], self.places[name] = text, place
            if is_read_by_service:
                self._read_by_service.add(name)
            else:
                self._read_by_service.discard(name)

    def default(self, name: str, text: str) -> None:
        """Set a setting that no place has set."""
        if name not in self.texts:
            self.add({name: text}, "by the fleet")

    def handed_over(self) -> dict[str, str]:
        """Return the settings that the service cannot read itself."""
        return {
            name: text
            for name, text in self.texts.items()
            if name not in self._read_by_service
        }
