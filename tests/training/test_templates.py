from training.report.section import Section
from training.templates import render


def page(*sections: Section, title: str = "Title", lead: str = "") -> str:
    return render("report/report.html.j2", title=title, lead=lead, sections=sections)


def test_text_is_escaped_wherever_it_stands() -> None:
    bad = "<script>alert('&')</script>"
    escaped = "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"
    section = Section(bad, bad, [((bad, bad), [(bad, bad)])], facts={bad: bad}, verbatim=bad)
    html = page(section, title=bad, lead=bad)
    assert "<script" not in html
    assert html.count(escaped) == 2 + 1 + 2 + 4 + 2 + 1


def test_paragraphs_are_parted_by_empty_lines_and_code_by_backticks() -> None:
    html = page(lead="One `x`\nline.\n\n\n\nTwo.\n")
    assert "<p>One <code>x</code>\nline.</p>\n<p>Two.</p>\n" in html
    assert "<p>" not in page(lead="  \n")


def test_the_page_needs_nothing_but_itself() -> None:
    for outside in ("http:", "https:", "src=", "<link", "@import", "<script"):
        assert outside not in page()
