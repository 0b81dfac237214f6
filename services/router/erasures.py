"""Whoever is erased is erased from what the router was taught: log → database, behind everything else that it does.

`feedback.erasures` names the pseudonym under which the log has the customer, and so has every example. Positions are committed
after the rows: what is read again finds nothing left to delete.
"""

from collections.abc import Sequence

from services.router import metrics
from services.router.hearing import Hearing
from services.router.kept import KeptModels
from shared.events.envelope import CUSTOMER_ERASED
from shared.events.erasure import CustomerErased
from shared.log import Log, Record
from shared.telemetry import get_logger
from shared.topics import ERASURES

_log = get_logger("router")


class Erasures(Hearing):
    name = "erasures"
    topic = ERASURES

    def __init__(self, log: Log, kept: KeptModels) -> None:
        super().__init__(log)
        self._kept = kept

    async def hear(self, records: Sequence[Record]) -> None:
        for record in records:
            await self._hear(record)

    async def _hear(self, record: Record) -> None:
        if dict(record.headers).get("ce_type") != CUSTOMER_ERASED.encode():
            return
        try:
            erased = CustomerErased.model_validate_json(record.value)
        except ValueError:  # nobody of ours writes such a one
            _log.error("erasures.unreadable", partition=record.partition, offset=record.offset)
            return
        gone = await self._kept.forget(erased.customer.encode(), erased.at)
        metrics.forgotten.inc(gone)
        _log.info("customer.erased", examples=gone)
