"""tools/make_corpus.py takes sentences out of each kind of manual and leaves markup and code behind."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import make_corpus  # noqa: E402

POD = """=head1 NAME

open - opens C<< $file->{name} >> as B<L<a file|perlfunc/open>>, E<lt>hereE<gt>

    my $code = 1;

=begin html

<b>left out</b>

=end html

=over 4

=item First

Its text.

=back

=head2 Next

Other text.

=cut
"""

RST = """:mod:`zlib` --- Compression
===========================

.. module:: zlib
   :synopsis: left out

Use :func:`compress <zlib.compress>` and ``level``; see `the manual <http://left.out>`_::

   left_out()

It *returns* bytes.

.. code-block:: python

   left = out

Objects
-------

Text of **objects**.
"""

ASCIIDOC = """git-add(1)
==========

NAME
----
git-add - Add file contents

DESCRIPTION
-----------
This command updates the `index`, see linkgit:git-commit[1].

------------
$ left out
------------

Second paragraph.
"""


def paragraphs(documents):
    return [[" ".join(paragraph.split()) for paragraph in document] for document in documents if document]


class MakeCorpus(unittest.TestCase):
    def test_pod_loses_codes_and_code(self):
        self.assertEqual(paragraphs(make_corpus.pod_documents(POD)), [
            ["NAME", "open - opens $file->{name} as a file, <here>", "First", "Its text."], ["Next", "Other text."]])

    def test_restructured_text_loses_roles_and_code(self):
        self.assertEqual(paragraphs(make_corpus.rst_documents(RST)), [
            ["zlib --- Compression", "Use compress and level; see the manual:", "It returns bytes."],
            ["Objects", "Text of objects."]])

    def test_asciidoc_loses_links_and_listings(self):
        found = paragraphs(make_corpus.asciidoc_documents(ASCIIDOC))
        self.assertIn("This command updates the index, see git-commit.", sum(found, []))
        self.assertNotIn("left out", str(found))

    def test_documents_are_json_lines_in_a_fixed_order_without_repetition(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for file in ("b.pod", "a.pod", "copy.pod"):
                letter = file[0] if file != "copy.pod" else "a"
                (folder / file).write_text(f"=head1 {letter}\n\n" + f"Sentence {letter}. " * 40 + "\n")
            call = [sys.executable, TOOLS / "make_corpus.py", "--manuals", name, "--output", folder / "out" / "c.jsonl"]
            subprocess.run(call, check=True, capture_output=True)
            lines = (folder / "out" / "c.jsonl").read_text().splitlines()
            self.assertEqual([json.loads(line)["text"][0] for line in lines], ["a", "b"])
            self.assertFalse((folder / "out" / "c.partial").exists())

    def test_nothing_found_is_an_error_that_says_what_to_install(self):
        with tempfile.TemporaryDirectory() as name:
            call = [sys.executable, TOOLS / "make_corpus.py", "--manuals", name, "--output", f"{name}/c.jsonl"]
            result = subprocess.run(call, capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 2)
            self.assertIn("perl-doc", result.stderr)


if __name__ == "__main__":
    unittest.main()
