// What the name of an experiment may be, as a `pattern` of an input; the Dag's own, as test_static.py checks.

export const SLUG = "[A-Za-z0-9][A-Za-z0-9_\\-]{0,63}(\\.[A-Za-z0-9_\\-]+)*";
