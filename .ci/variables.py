"""The variables of a dashboard in a query, replaced as Grafana does for a Prometheus data source.

A value is a string for a variable of one value, a list for a variable of several values, or `All` with the regular
expression of the variable for all values, which Grafana inserts as it is, whatever the format.
"""

import re

REFERENCE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")


class All(str):
    """The regular expression that stands for all values of a variable."""


def interpolate(text, values):
    """`text` with the values of its variables. Other names stay as they are, such as `$1` in `label_replace`."""

    def value_of(found):
        name, form = found[1] or found[3], found[2]
        return formatted(values[name], form) if name in values else found[0]

    return REFERENCE.sub(value_of, text)


def formatted(value, form):
    if isinstance(value, All):
        return str(value)
    if form == "raw":
        return value if isinstance(value, str) else ",".join(value)
    if form == "regex":
        return joined(value, lambda one: re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", one))
    if form is not None:
        raise ValueError(f"the format {form} is not known here")
    if isinstance(value, str):
        # The escapes of a single value: for a string in double quotes, except that a single quote gets backslashes
        # and a double quote gets none.
        return value.replace("\\", "\\\\").replace("'", "\\\\'")
    return joined(value, lambda one: re.sub(r"[$^*{}\[\]+?.()|]", r"\\\\\g<0>", one.replace("\\", "\\\\\\\\")))


def joined(value, escaped):
    values = [escaped(one) for one in ([value] if isinstance(value, str) else value)]
    return values[0] if len(values) == 1 else f"({'|'.join(values)})"
