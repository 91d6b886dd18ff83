"""jreg train --benchmark: what it reports, with and without a profile."""
import re

import support


class Benchmark(support.ProgramTest):
    def benchmark(self, *words, ranks=None, **changes):
        return self.jreg("train", *self.options("unused", **changes), "--benchmark", "--benchmark-steps", 2, *words,
                         ranks=ranks).stdout

    def rows(self, text):
        """{kind: its words} of the table of kinds."""
        found = {}
        for line in text.splitlines():
            if match := re.match(r"(no statistics|statistics and penalty|statistics) +([\d.].*)", line):
                found[match[1]] = match[2].split()
        return found

    def test_the_table_has_every_kind_with_rates_and_shares(self):
        for ranks, changes in ((None, {"run__precision": "bf16"}), (2, {"mesh__tensor": 2})):
            text = self.benchmark(ranks=ranks, **changes)
            rows = self.rows(text)
            self.assertEqual(list(rows), ["no statistics", "statistics", "statistics and penalty"])
            for median, least, low, high, tokens, gflops, of_products, of_peak, overhead in rows.values():
                self.assertLessEqual(float(least), float(low))
                self.assertLessEqual(float(low), float(median))
                self.assertLessEqual(float(median), float(high))
                self.assertAlmostEqual(float(tokens), 8 * 16 / float(median) * 1e3, delta=float(tokens) * 0.6 + 1)
                self.assertGreater(float(gflops), 0)
                for share in (of_products, of_peak, overhead):
                    self.assertRegex(share, r"^-?[\d.]+%$")
            self.assertEqual(rows["no statistics"][-1], "0.00%")
            rates = re.search(r"matrix products ([\d.]+) GFLOP/s, arithmetic on registers ([\d.]+) GFLOP/s, memory "
                              r"([\d.]+) GB/s", text)
            self.assertTrue(all(float(rate) > 0 for rate in rates.groups()), text)
            peak, above = map(float, re.search(r"peak resident ([\d.]+) MB, ([\d.]+) MB above start-up", text).groups())
            self.assertLess(0, above)
            self.assertLess(above, peak)
            self.assertNotIn("profile", text)
        self.assertFalse((self.folder / "unused").exists())

    def test_the_profile_names_every_operation_of_an_update(self):
        text = self.benchmark("--profile", ranks=2, mesh__tensor=2)
        self.assertEqual(len(self.rows(text)), 3)
        profile = text[text.index("profile of 2 update(s)"):]
        # name, shape, calls, ms, share, GFLOP, MB, floor, times the floor
        lines = re.findall(r"^(\w+) +(\d+(?: x \d+)+) +(\d+) +([\d.]+) +([\d.]+)% +([\d.]+) +([\d.]+) +([\d.]+) +[\d.]+$",
                           profile, re.MULTILINE)
        names = {line[0] for line in lines}
        self.assertLessEqual({"linear", "linear_input_gradient", "linear_weight_gradient", "attention",
                              "attention_backward", "residual_norm", "norm_again", "norm_backward", "rope", "swiglu",
                              "swiglu_backward", "embedding", "embedding_backward", "logits_max", "logits_sum",
                              "logits_gradient", "add_token_losses", "add_angular_sums", "adamw", "add_squares", "zero"},
                             names)
        calls = {(name, shape): int(number) for name, shape, number, *_ in lines}
        self.assertEqual(calls["linear", "128 x 32 x 32"], 3)  # queries, keys, values of three blocks: half of the heads
        total, operations = map(float, re.search(r"an update ([\d.]+) ms: operations ([\d.]+) ms", profile).groups())
        self.assertAlmostEqual(sum(float(line[3]) for line in lines), operations, delta=0.1)
        self.assertLess(operations, total)

    def test_a_profile_alone_is_refused(self):
        self.assert_refused(self.train("run", "--profile", check=2), "--profile", "--benchmark")


if __name__ == "__main__":
    support.main()
