from itertools import product

from rich.console import Console

from study.forget_bias import BIASES, SEEDS, key, table
from study.long_lag import RATES


def test_the_table_chooses_the_rate_by_the_validation_part() -> None:
    found = {
        key(bias, seed, rate): {"validation": rate * (1 + bias), "test": 10 * rate}
        for bias, seed, rate in product(BIASES, SEEDS, RATES)
    }
    console = Console(width=120)
    with console.capture() as shown:
        console.print(table(found))
    rows = [line.split("│")[1:-1] for line in shown.get().splitlines() if line.startswith("│")]
    assert len(rows) == len(BIASES) * len(SEEDS)
    assert [cell.strip() for cell in rows[-1]] == ["1", "2", "0.60%", "2.00%", "6.00%", "30.00%"]
