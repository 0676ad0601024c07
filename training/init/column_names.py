"""What the name of a column tells. Names alone decide nothing but which of several columns is meant."""

import re

IDENTITY = re.compile(
    r"(^|[^a-z])(id|ids|key|uid|uuid|unit|engine|machine|device|sensor|meter|node|tag|station|site|plant|store|shop|"
    r"household|house|room|patient|subject|person|user|customer|session|series|run|trip|ride|ticker|symbol|stock|name|"
    r"country|city|region|state|dept|department|item|product|sku|chick|batch|lot|episode|track|vehicle|car|player|"
    r"experiment)($|[^a-z])"
)
NUMBERED = re.compile(r"(^|[^a-z])u?u?id$")  # an id, not what is measured of one
TIME = re.compile(r"time|date|epoch|stamp|unix|^when$|^ts$|^dt$|^utc|_at$|datum|zeit|fecha|heure")
COUNT = re.compile(
    r"cycle|step|tick|year|frame|elapsed|^t$|^(day|week|hour|minute|second|month)s?$|^age$"
)  # of numbers that rise
CLOCK = re.compile(r"^(time|hour|hr|he$|clock|uhrzeit|zeit|heure|hora)")
CALENDAR = re.compile(
    r"^(year|yr|month|week|day|weekday|dow|hour|hr|minute|min|second|sec|quarter|date|time)s?$|"
    r"^(settlement[ _]?)?(period|interval|slot)s?$|"
    r"^(doy|yday|jday|julian(_?da(y|te))?|day_?of_?(year|month|week))$"
)
# Columns that make a date together, the largest first.
PARTS = (
    *(r"^(year|yr|yyyy)$", r"^(month|mon|mo|mm)$", r"^(day|dd|mday|dom)$"),
    *(r"^(hour|hr|hh)$", r"^(minute|min)$", r"^(second|sec|ss)$"),
)
COUNTER = re.compile(
    r"^(column \d+|unnamed.*|__index_level_\d+__|#|index|idx|observation|instant|seq|counter|lfd\.? ?nr\.?|"
    r"(row|line|record|obs|sample)?_?(id|no|nr|num|number|names?|index|count|counter)?\.?)$"
)
LABEL = re.compile(r"(^|[^a-z])(labels?|class|classes|activity|target|fault|outcome)($|[^a-z])")
STATE = re.compile(r"(^|[^a-z])(state|status|phase|mode)($|[^a-z])")  # a label where nothing is named like a measure
MEASURE = re.compile(r"target|value|load|volume|demand|price|count|power|sales|energy|consumption|usage|wh\b|^y$")


def named(pattern: re.Pattern[str], name: str) -> bool:
    """Return whether a column is named so, in upper or lower case."""
    return bool(pattern.search(name.strip().lower()))
