"""Examples in a parquet file, a batch of rows at a time. Importing this imports pyarrow."""

from collections.abc import Collection, Iterator
from pathlib import Path

from pyarrow import ArrowException
from pyarrow.parquet import ParquetFile

from relora_trainer.errors import DataError

BATCH_ROWS = 1024


def parquet_records(path: Path, fields: Collection[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield where each row is and its values of `fields`; a column that is not there is left out.

    Raises:
        DataError: The file is damaged.
    """
    number = 0
    try:
        with ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name in fields]
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{path.name}, row {number}", record
    except (ArrowException, OSError, UnicodeDecodeError) as error:  # the last one: a text that is not UTF-8
        raise DataError(f"{path.name} is damaged, or no parquet file, after row {number}") from error
