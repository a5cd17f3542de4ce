"""One thread pool: which layer it is, who limits it, what happens to BLAS, to threads of the user's and to a fork."""

import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from minicnn import dispatch, nn, optim, threads
from minicnn.nn.parameter import Parameter

KERNEL = """
import numpy as np
from minicnn import dispatch, optim, threads
from minicnn.nn.parameter import Parameter

def train(steps=3):
    p = Parameter(np.linspace(-1, 1, 5000, dtype="float32"))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.5)
    for _ in range(steps):
        p.grad = p.data.copy()
        optimizer.step()
    return p.data
"""


def python(code, **environment):
    """What a new interpreter prints, and what it says on stderr."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", KERNEL + textwrap.dedent(code)],
        env=keep | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def compiled_lines(stderr):
    return [line for line in stderr.splitlines() if "compiles" not in line]


# --- the user's limits ---


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"NUMBA_NUM_THREADS": "1"}, "1"),
        ({"OMP_NUM_THREADS": "1"}, "1"),
        ({"OMP_NUM_THREADS": "1,4"}, "1"),
        ({"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}, "2"),  # the more special wish
        ({"OMP_NUM_THREADS": "0", "NUMBA_NUM_THREADS": "2"}, "2"),
        ({"OMP_NUM_THREADS": "many", "NUMBA_NUM_THREADS": "1"}, "1"),
    ],
)
def test_the_number_of_threads_is_the_users(environment, said):
    assert python("train(); print(threads.count())", **environment)[0] == said


def test_a_named_layer_is_taken_without_a_word():
    out, said = python("train(); print(threads.layer())", NUMBA_THREADING_LAYER="workqueue")
    assert out == "workqueue"
    assert compiled_lines(said) == []


def test_without_openmp_a_line_says_what_to_install():
    out, said = python(
        """
        import sys
        sys.modules["numba.np.ufunc.omppool"] = sys.modules["numba.np.ufunc.tbbpool"] = None
        import warnings
        train(); train(); print(threads.layer())
        """
    )
    assert out == "workqueue"
    (line,) = compiled_lines(said)
    assert line.startswith("minicnn: Numba finds no OpenMP, so small kernels are slower: ")
    assert threads.remedy() in line


def test_importing_starts_no_threads():
    code = "import sys; assert 'numba' not in sys.modules; assert threads._numba.alone is None"
    python(code)


# --- BLAS ---


class Blas:
    def __init__(self, n):
        self.n, self.calls = n, 0

    def get_num_threads(self):
        return self.n

    def set_num_threads(self, n):
        self.n, self.calls = n, self.calls + 1


@pytest.fixture
def blas(monkeypatch):
    found = [Blas(8), Blas(1)]
    monkeypatch.setattr(threads, "_blas", lambda: found)
    return found


def counts(blas):
    return [b.n for b in blas]


def test_blas_has_one_thread_inside_and_its_own_afterwards(blas):
    with threads.one_pool():
        assert counts(blas) == [1, 1]
        with threads.one_pool():
            assert counts(blas) == [1, 1]
        assert counts(blas) == [1, 1]
    assert counts(blas) == [8, 1]
    assert [b.calls for b in blas] == [2, 0]
    with pytest.raises(KeyError), threads.one_pool():
        raise KeyError
    assert counts(blas) == [8, 1]


def test_the_last_thread_to_leave_restores(blas):
    inside, go = threading.Event(), threading.Event()

    def other():
        with threads.one_pool():
            inside.set()
            assert go.wait(10)

    thread = threading.Thread(target=other)
    with threads.one_pool():
        thread.start()
        assert inside.wait(10)
    assert counts(blas) == [1, 1], "the other thread is still inside"
    go.set()
    thread.join()
    assert counts(blas) == [8, 1]


class Watch(nn.Module):
    """A layer that notes how many threads BLAS has while it runs."""

    def __init__(self, blas):
        self.blas, self.seen = blas, []

    def forward(self, x):
        self.seen.append(counts(self.blas))
        return x, None

    def gradient(self, dy, cache):
        self.seen.append(counts(self.blas))
        return dy


class Both(nn.Module):
    """A user's module, with a backward of its own."""

    def __init__(self, blas):
        self.inner, self.seen, self.blas = Watch(blas), [], blas

    def forward(self, x):
        return self.inner(x)

    def backward(self, dy):
        self.seen.append(counts(self.blas))
        return self.inner.backward(dy)


@pytest.mark.parametrize(("mode", "inside"), [("fast", [1, 1]), ("strict", [1, 1]), ("reference", [8, 1])])
def test_models_and_optimisers_run_in_one_pool(blas, mode, inside, monkeypatch):
    model = Both(blas)
    with dispatch.using(mode):
        model.backward(model(np.ones((2, 3))))
        assert counts(blas) == [8, 1]
        nn.Sequential(model, nn.Linear(3, 2))(np.ones((2, 3), "float32"))
    assert model.inner.seen == [inside] * 3
    assert model.seen == [inside]
    seen = []
    p = Parameter(np.ones(3))
    p.grad = np.ones(3)
    monkeypatch.setattr(optim.SGD, "update", staticmethod(lambda *args: seen.append(counts(blas)) or (args[0], {})))
    with dispatch.using(mode):
        optim.SGD([p]).step()
    assert seen == [inside]
    assert counts(blas) == [8, 1]


def test_an_error_on_the_way_leaves_blas_as_it_was(blas):
    with pytest.raises(ValueError, match="linear"):
        nn.Linear(3, 2)(np.ones((2, 4)))
    assert counts(blas) == [8, 1]


def test_numba_is_asked_once_a_block_how_many_threads_there_are(blas, monkeypatch):
    limit = threads.count()
    answers = iter([1, limit, 1])
    monkeypatch.setattr(numba, "get_num_threads", lambda: next(answers))
    with threads.one_pool():
        assert threads.count() == 1
        with threads.one_pool():
            assert threads.count() == 1
        assert threads.count() == 1
    assert [threads.count(), threads.count()] == [limit, 1]


def test_the_real_blas_is_found():
    assert threads._blas()
    assert threads._blas() is threads._blas()


# --- threads of the user's ---


def test_inference_from_eight_threads_is_serial_inference_in_bits():
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, rng=0),
        nn.BatchNorm2d(8),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 36, 5, rng=1),
    ).eval()
    images = [rng.normal(size=(n, 12, 12, 3)).astype("float32") for n in range(1, 17)]
    serial = [model(x) for x in images]
    with ThreadPoolExecutor(8) as executor:
        for _ in range(3):
            for got, want in zip(executor.map(model, images), serial, strict=True):
                np.testing.assert_array_equal(got, want)


def test_on_the_workqueue_layer_kernels_of_several_threads_take_turns():
    out, _ = python(
        """
        from concurrent.futures import ThreadPoolExecutor
        want = train(50)
        with ThreadPoolExecutor(8) as executor:
            results = list(executor.map(train, [50] * 16))
        print(threads.layer(), all((r == want).all() for r in results))
        """,
        NUMBA_THREADING_LAYER="workqueue",
    )
    assert out == "workqueue True"


# --- processes ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(("layer", "survives"), [("omp", not sys.platform.startswith("linux")), ("workqueue", True)])
def test_a_forked_child_computes_too(layer, survives):
    out, _ = python(
        f"""
        import os
        want = train()
        child = os.fork()
        if child == 0:
            same = np.allclose(train(), want, rtol=1e-6)
            os._exit(0 if same and threads.lost() is not {survives} else 1)
        print(os.waitpid(child, 0)[1], threads.lost(), (train() == want).all())
        """,
        NUMBA_THREADING_LAYER=layer,
    )
    assert out == "0 False True"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are lost with OpenMP on Linux alone")
def test_in_a_forked_child_ops_run_their_definitions_and_strict_says_why():
    out, _ = python(
        """
        import os, sys
        train()
        child = os.fork()
        if child == 0:
            op = dispatch.Op(lambda x: "definition", ("numba",))
            op.sibling = lambda kind: lambda x: "kernel"
            assert op(1.0) == "definition"
            try:
                with dispatch.using("strict"):
                    op(1.0)
            except RuntimeError as error:
                os._exit(0 if "this process was forked after kernels had run" in str(error) else 2)
            os._exit(1)
        print(os.waitpid(child, 0)[1])
        """,
        NUMBA_THREADING_LAYER="omp",
    )
    assert out == "0"


def test_a_spawned_child_runs_kernels(tmp_path):
    script = tmp_path / "spawn.py"
    script.write_text(
        KERNEL
        + textwrap.dedent(
            """
            import multiprocessing

            def child(queue):
                queue.put((train(), threads.lost()))

            if __name__ == "__main__":
                want = train()
                context = multiprocessing.get_context("spawn")
                queue = context.Queue()
                process = context.Process(target=child, args=(queue,))
                process.start()
                got, lost = queue.get(timeout=60)
                process.join()
                assert (got == want).all() and not lost
            """
        )
    )
    assert subprocess.run([sys.executable, str(script)], timeout=120).returncode == 0
