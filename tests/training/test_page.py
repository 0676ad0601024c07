from training.page import facts, page, prose, table, verbatim


def test_text_is_escaped_wherever_it_stands() -> None:
    bad = "<script>alert('&')</script>"
    for html in (
        page(bad, "", {bad: "x"}),
        prose(bad),
        table((bad, bad), [(bad, bad)]),
        facts({bad: bad}),
        verbatim(bad),
    ):
        assert "<script" not in html
        assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in html


def test_paragraphs_are_parted_by_empty_lines_and_code_by_backticks() -> None:
    assert prose("One `x`\nline.\n\n\n\nTwo.\n") == "<p>One <code>x</code>\nline.</p>\n<p>Two.</p>\n"
    assert prose("  \n") == ""


def test_a_section_without_content_has_no_heading() -> None:
    html = page("Title", "", {"There": "<p>something</p>", "Not there": ""})
    assert "<h2>There</h2>\n<p>something</p>" in html
    assert "Not there" not in html


def test_the_page_needs_nothing_but_itself() -> None:
    html = page("Title", "", {})
    for outside in ("http:", "https:", "src=", "<link", "@import", "<script"):
        assert outside not in html
