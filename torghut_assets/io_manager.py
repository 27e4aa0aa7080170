"""Dagster's view of the artifact store.

Assets hand over values as :class:`Encoded` parts, whose digest is their data version; inputs come back typed by the
annotation of the parameter, for one partition or, as a dictionary by partition, for all that hold something.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast, get_args, get_origin

import dagster as dg

from torghut_assets.artifact_values import decode, encode
from torghut_assets.artifacts import ArtifactStore
from torghut_runtime.canonical import digest, sha256_hex


@dataclass(frozen=True)
class Encoded:
    """A value taken apart once, for its data version and for the store."""

    parts: dict[str, bytes]

    @classmethod
    def of(cls, value: object) -> Self:
        """Take ``value`` apart."""
        return cls(encode(value))

    @property
    def data_version(self) -> str:
        """The digest that the store's reference will have."""
        return digest({name: sha256_hex(data) for name, data in self.parts.items()})

    def materialized(self, metadata: Mapping[str, Any]) -> dg.MaterializeResult[Self]:
        """The result of an asset whose data version is the content's digest."""
        return dg.MaterializeResult(value=self, data_version=dg.DataVersion(self.data_version), metadata=metadata)


class ArtifactIOManager(dg.ConfigurableIOManager):
    """Writes :class:`Encoded` values to the artifact store and reads them back."""

    root: str

    @property
    def store(self) -> ArtifactStore:
        """The store under ``root``."""
        return ArtifactStore(Path(self.root))

    def handle_output(self, context: dg.OutputContext, obj: Encoded) -> None:
        """Store the parts under the asset's key and partition."""
        partition = context.partition_key if context.has_asset_partitions else None
        reference = self.store.write(context.asset_key.path, partition, obj.parts)
        table = "\n".join(f"| {name} | {part.size:,} | `{part.sha256}` |" for name, part in reference.parts.items())
        context.add_output_metadata(
            {
                "stored": dg.MetadataValue.md(f"| part | bytes | sha256 |\n|---|---:|---|\n{table}"),
                "stored_bytes": reference.size,
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """Load what the upstream asset holds, typed by the parameter.

        Raises:
            ArtifactError: nothing is stored for the partition, or it was changed.
        """
        kind: Any = cast("Any", context.dagster_type).typing_type
        key = context.asset_key.path
        store = self.store
        if get_origin(kind) is dict:
            value_kind = get_args(kind)[1]
            wanted = set(context.asset_partition_keys)
            return {name: decode(store.read(key, name), value_kind) for name in store.partitions(key) if name in wanted}
        partition = context.asset_partition_key if context.has_asset_partitions else None
        return decode(store.read(key, partition), kind)
