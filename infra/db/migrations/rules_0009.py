"""What a node's own database role may: the grants say which columns, row security says which rows. Nothing else.

Part of revision 0009; a later change of these is a revision of its own.

Security is enabled and not forced: the owner of the tables is the control side, which sees every node. A table without
a grant is closed to nodes by that alone.
"""

from __future__ import annotations

from alembic import op

NODES = "x0_node"  # cluster-wide, as all roles are: installations that share a server share it, and it holds nothing

# CREATE ROLE knows no IF NOT EXISTS, and two databases of one server may be migrated at once.
GROUP = f"""
DO $$
BEGIN
    CREATE ROLE {NODES} NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format(
            'role %s may not create roles, and each node needs its own; as a superuser: ALTER ROLE %I CREATEROLE',
            current_user, current_user);
END $$
"""

# Who logged in decides: an ordinary role cannot change `session_user`, and nothing here reads a setting, which it can.
OWN = """
CREATE FUNCTION {{schema}}.x0_own_{column}() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT {column} FROM {{schema}}.joined_nodes WHERE role = session_user $$
"""

# In a sub-select of its own each is asked once a statement, and what it says can be looked up in an index.
OWN_MESH = "mesh = (SELECT x0_own_mesh())"
OWN_ROWS = f"{OWN_MESH} AND node = (SELECT x0_own_node())"
OWN_POST = "role = (SELECT 'collect-node:' || x0_own_mesh() || ':' || x0_own_node())"

# Table, command, which rows are seen, which may be written. None: the command knows no such rows.
POLICIES: tuple[tuple[str, str, str | None, str | None], ...] = (
    ("meshes", "SELECT", "name = (SELECT x0_own_mesh())", None),
    ("samples", "INSERT", None, OWN_ROWS),
    ("baselines", "SELECT", OWN_ROWS, None),
    # A node without a past records its first; what replaces it is control's to say.
    ("baselines", "INSERT", None, f"{OWN_ROWS} AND version = 1"),
    ("operations", "SELECT", OWN_ROWS, None),
    # What is over stays over: an operation brought back to life would hold its element against every other.
    ("operations", "UPDATE", f"{OWN_ROWS} AND state NOT IN ('undone', 'refused')", OWN_ROWS),
    ("duties", "SELECT", OWN_ROWS, None),
    ("duties", "UPDATE", f"{OWN_ROWS} AND state = 'requested'", OWN_ROWS),
    ("long_runs", "SELECT", OWN_POST, None),
    ("long_runs", "INSERT", None, OWN_POST),
    ("long_runs", "UPDATE", OWN_POST, OWN_POST),
)

GRANTS: tuple[str, ...] = (
    "SELECT ON meshes",
    "INSERT (mesh, node, epoch, sequence, at, sample) ON samples",
    "SELECT, INSERT ON baselines",
    (
        "SELECT (operation, mesh, node, number, state, order_payload, order_signature, closing, closing_payload,"
        " closing_signature, reported_at) ON operations"
    ),
    "UPDATE (state, reported_at, report) ON operations",
    "SELECT (operation, mesh, node, number, state, order_payload, order_signature) ON duties",
    "UPDATE (state, report) ON duties",
    "SELECT, INSERT, UPDATE ON long_runs",
)


def make_rules() -> None:
    """Make the group, the functions, the policies and the grants."""
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(GROUP)
    op.execute(f"GRANT USAGE ON SCHEMA {schema} TO {NODES}")
    for column in ("mesh", "node"):
        op.execute(OWN.format(column=column).format(schema=schema))
        # Everybody may call a new function; only nodes have a use for these.
        op.execute(f"REVOKE ALL ON FUNCTION {schema}.x0_own_{column}() FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {schema}.x0_own_{column}() TO {NODES}")
    for table in dict.fromkeys(policy[0] for policy in POLICIES):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    for table, command, seen, written in POLICIES:
        rules = (f" USING ({seen})" if seen else "") + (f" WITH CHECK ({written})" if written else "")
        op.execute(f"CREATE POLICY node_{command.lower()} ON {table} FOR {command} TO {NODES}{rules}")
    for grant in GRANTS:
        op.execute(f"GRANT {grant} TO {NODES}")
