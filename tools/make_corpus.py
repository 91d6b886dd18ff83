#!/usr/bin/env python3
"""Makes a corpus of English text from the manuals that Debian packages hold: JSON lines {"text": ...}, one document
(a section of a manual) a line.

    tools/make_corpus.py --output corpus.jsonl [--manuals FOLDER ...]

Sources: Perl's manual (POD, package perl-doc), Python's (reStructuredText, python3-doc), git's (AsciiDoc, git-doc).
Markup is taken off, and examples of code, tables and lists of symbols are left out: what remains are sentences.
"""
import argparse
import glob
import json
import pathlib
import re
import sys

# Where the packages put their text; the same on Debian and Ubuntu whatever the version of Perl or Python.
MANUALS = ["/usr/share/perl/5.*.*/pod", "/usr/share/doc/python3-doc/html/_sources", "/usr/share/doc/git/html"]
# Not English, generated tables, or contents of the others.
LEFT_OUT = re.compile(r"^perl(cn|jp|ko|tw|toc|uniprops|modlib|uniintro)\.pod$|/lang\.|changelog|-urls?\.txt$")
SMALLEST_DOCUMENT = 300  # characters

# Angle brackets come back last: until then they delimit codes.
ENTITIES = {"lt": "\x01", "gt": "\x02", "verbar": "|", "sol": "/", "amp": "&", "quot": '"', "nbsp": " "}


def plain_pod(text):
    """POD without its formatting codes: C<x>, L<text|target>, E<lt>, nested and with several angle brackets."""

    def replace(match):
        code, inside = match.group(1), match.group(2) if match.group(2) is not None else match.group(3)
        if code in "XZ":
            return ""
        if code == "E":
            return ENTITIES.get(inside, inside if len(inside) == 1 else "")
        if code == "L":
            return inside.split("|", 1)[0].replace('"', "")
        return inside

    code = re.compile(r"([BCEFILSXZ])(?:<<+\s+(.*?)\s+>>+|<([^<>]*)>)", re.DOTALL)
    count = 1
    while count > 0:  # the innermost first
        text, count = code.subn(replace, text)
    return text.replace("\x01", "<").replace("\x02", ">")


def pod_documents(text):
    """Sections of a POD file: from =head1 or =head2 to the next."""
    paragraphs, section, skipping = [], [], False
    for block in re.split(r"\n\s*\n", text.replace("\r", "")):
        if block.startswith("=begin"):
            skipping = True
        elif block.startswith(("=end", "=cut", "=pod")):
            skipping = False
        elif skipping or block.startswith((" ", "\t", "=for", "=encoding")) or not block.strip():
            continue
        elif re.match(r"=head[12]\b", block):
            paragraphs.append(section)
            section = [re.sub(r"^=\w+\s*", "", block)]
        elif re.match(r"=(item|head\d)\b", block):
            section.append(re.sub(r"^=\w+[ \t]*\*?\s*", "", block))
        elif not block.startswith("="):
            section.append(block)
    paragraphs.append(section)
    return [[plain_pod(paragraph) for paragraph in section] for section in paragraphs]


def plain_rst(text):
    text = re.sub(r":[\w:+.-]+:`[!~]?([^`<]*?)\s*(?:<[^`>]*>)?`", r"\1", text)  # :func:`open <x>`
    text = re.sub(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}", r"\1", text)  # `text <address>`_
    text = re.sub(r"``([^`]*)``|`([^`]*)`_{0,2}", lambda m: m.group(1) or m.group(2) or "", text)
    text = re.sub(r"\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\n]+)\*", lambda m: m.group(1) or m.group(2), text)
    text = re.sub(r"\|(\w+)\|", r"\1", text)
    return re.sub(r"\\([*`|_ ])", r"\1", text)


def rst_documents(text):
    """Sections of a reStructuredText file: from a heading to the next; only what stands as text at any indent."""
    sections, section, code_indent = [], [], None
    for block in re.split(r"\n\s*\n", text.replace("\r", "")):
        lines = block.strip("\n").splitlines()
        if not lines or not lines[0].strip():
            continue
        indent = len(lines[0]) - len(lines[0].lstrip())
        if code_indent is not None:
            if indent > code_indent:
                continue
            code_indent = None
        head = lines[0].strip()
        if len(lines) >= 2 and re.match(r"([=~^\"'*#.-])\1{2,}$", lines[-1].strip()):  # heading
            sections.append(section)
            section = [lines[-2].strip()]
            continue
        if re.match(r"\.\. (code|doctest|testcode|testsetup|testoutput|productionlist|index|highlight|toctree|table|"
                    r"csv-table|list-table|image|figure|include|literalinclude|audit-event|raw|math|ifconfig)", head):
            code_indent = indent
            continue
        if head.startswith((">>>", "+-", "+=", "|", "==", "..", "---")) or re.match(r":\w[\w -]*:", head):
            continue
        if head.endswith("::"):
            code_indent = indent
        section.append(re.sub(r"::$", ":", "\n".join(line.strip() for line in lines)))
    sections.append(section)
    return [[plain_rst(paragraph) for paragraph in section] for section in sections]


def plain_asciidoc(text):
    text = re.sub(r"(?:link|https?):\S*?\[([^\]]*)\]", r"\1", text)
    text = re.sub(r"linkgit:([\w-]+)\[\d\]", r"\1", text)
    text = re.sub(r"<<[\w-]+,([^>]*)>>", r"\1", text)
    text = re.sub(r"\{(\w+)\}", "", text)
    return re.sub(r"[`_*]([^`_*\n]+)[`_*]", r"\1", text)


def asciidoc_documents(text):
    """Sections of an AsciiDoc file: from an underlined heading to the next, without listings."""
    # A line of dashes after a text is its heading's underline, otherwise it opens a listing.
    text = re.sub(r"(?:\A|(?<=\n\n)|(?<=\n\+\n)|(?<=\]\n))(-{4,}|\.{4,}|/{4,})\n.*?^\1\n", "", text.replace("\r", ""),
                  flags=re.DOTALL | re.MULTILINE)
    sections, section = [], []
    for block in re.split(r"\n(?:\s*\n|\+\n)", text):
        lines = block.strip("\n").splitlines()
        if len(lines) >= 2 and re.match(r"([=~^-])\1{2,}$", lines[1]):
            sections.append(section)
            section = [lines[0], "\n".join(lines[2:])]
        elif lines and not lines[0].startswith((" ", "\t", "[", "include::", "//", "|", "ifdef", "endif")):
            section.append("\n".join(line.strip() for line in lines if line.strip() != "+"))
    sections.append(section)
    return [[plain_asciidoc(paragraph) for paragraph in section] for section in sections]


READERS = {".pod": pod_documents, ".txt": rst_documents}


def documents_of(file):
    """Documents of one file as text; [] for what is no English manual."""
    if LEFT_OUT.search(str(file)) or LEFT_OUT.search(file.name):
        return []
    reader = asciidoc_documents if re.search("/git(-doc)?/", str(file)) else READERS[file.suffix]
    text = file.read_text(encoding="utf-8", errors="ignore")
    documents = []
    for paragraphs in reader(text):
        joined = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())
        if len(joined) >= SMALLEST_DOCUMENT:
            documents.append(joined)
    return documents


def find_files(folders):
    """Files of the manuals without repetition, in an order that does not depend on the machine."""
    found = {}
    for pattern in folders:
        for folder in map(pathlib.Path, sorted(glob.glob(pattern))):
            for suffix in READERS:
                for file in folder.resolve().rglob(f"*{suffix}"):
                    found[file.resolve()] = None
    return sorted(found, key=lambda file: (file.name, str(file)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, help="JSON lines to write")
    parser.add_argument("--manuals", nargs="+", default=MANUALS, metavar="FOLDER", help="where the manuals lie")
    options = parser.parse_args()
    documents = [document for file in find_files(options.manuals) for document in documents_of(file)]
    documents = list(dict.fromkeys(documents))
    if not documents:
        print(f"make_corpus.py: no manuals in {' '.join(options.manuals)}; install perl-doc", file=sys.stderr)
        return 2
    output = pathlib.Path(options.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        for document in documents:
            stream.write(json.dumps({"text": document}, ensure_ascii=False) + "\n")
    partial.rename(output)
    size = sum(len(document.encode()) for document in documents)
    print(f"{output}: {len(documents)} documents, {size / 1e6:.1f} MB of text")
    return 0


if __name__ == "__main__":
    sys.exit(main())
