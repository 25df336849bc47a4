import pytest

pytest.register_assert_rewrite("pyairtable_scenarios")
