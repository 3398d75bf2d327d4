"""The extraction run: plan what is missing, run it on workers, write, pack, report."""
