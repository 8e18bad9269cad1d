"""What the doctor says: a finding, and findings as text."""

import dataclasses
import textwrap

SEVERITIES = ('error', 'warning', 'note')


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was found.

    `severity` is 'error' (the result would be wrong or worth nothing), 'warning' (it would be worse than it could be) or
    'note' (good to know). `found` holds the figure, `fix` what to do about it, `key` names the check.
    """

    key: str
    severity: str
    found: str
    fix: str


def report(findings):
    """Findings as text, the worst first."""
    counts = {severity: sum(f.severity == severity for f in findings) for severity in SEVERITIES}
    lines = [
        'doctor: ' + ', '.join(f'{n} {severity}{"s" * (n != 1)}' for severity, n in counts.items())
    ]
    for finding in sorted(findings, key=lambda f: SEVERITIES.index(f.severity)):
        lines += _wrapped(f'{finding.severity.upper():<8} {finding.key}: {finding.found}', '  ')
        lines += _wrapped(f'-> {finding.fix}', ' ' * 11)
    return '\n'.join(lines)


def _wrapped(text, indent):
    return textwrap.wrap(
        text, 125, initial_indent=indent, subsequent_indent=' ' * 11, break_long_words=False
    )
