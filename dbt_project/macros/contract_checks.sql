{#-
Row-level checks that follow from the platform contract: what is required, accepted, and between
which bounds. [{reason, broken}], broken being an SQL condition over the aliased rows.
-#}
{% macro contract_checks(table, alias, names={}) -%}
    {%- set checks = [] -%}
    {%- for column in platform_contract(table).columns.values() -%}
        {%- set meta = column.config.meta -%}
        {%- set value = alias ~ '.' ~ names.get(column.name, column.name) -%}
        {%- if meta.required and table == 'sessions' -%}
            {%- do checks.append({
                'reason': column.name ~ '_missing', 'broken': value ~ ' is null',
            }) -%}
        {%- endif -%}
        {%- if meta.accepted -%}
            {%- do checks.append({
                'reason': column.name ~ '_unknown_value',
                'broken': value ~ " not in ('" ~ meta.accepted | join("', '") ~ "')",
            }) -%}
        {%- endif -%}
        {%- set bounds = type_bounds(column.data_type) -%}
        {%- if bounds -%}
            {%- set low = meta.get('minimum', bounds[0]) -%}
            {%- set high = meta.get('maximum', bounds[1]) -%}
            {%- do checks.append({
                'reason': column.name ~ '_out_of_range',
                'broken': 'not (' ~ value ~ ' >= ' ~ low ~ ' and ' ~ value ~ ' <= ' ~ high ~ ')',
            }) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(checks) }}
{%- endmacro %}

{#- The least and greatest value that counts as one: keeps out NaN, infinity and overflow. -#}
{% macro type_bounds(data_type) -%}
    {{ return({
        'integer': ['-2147483647', '2147483647'],
        'double precision': ["'-1e300'::double precision", "'1e300'::double precision"],
        'numeric': ['-1e300', '1e300'],
        'timestamptz': ["timestamptz '0001-01-01 00:00:00+00'",
                        "timestamptz '9999-12-31 00:00:00+00'"],
    }.get(data_type)) }}
{%- endmacro %}

{#- A profile value, or NULL where the contract's bounds exclude it. -#}
{% macro within_contract(table, column) -%}
    {%- if execute -%}
    {%- set contract = platform_contract(table).columns[column] -%}
    {%- set bounds = type_bounds(contract.data_type) -%}
    {%- set low = contract.config.meta.get('minimum', bounds[0]) -%}
    {%- set high = contract.config.meta.get('maximum', bounds[1]) -%}
    case when {{ column }} >= {{ low }} and {{ column }} <= {{ high }} then {{ column }} end
    {%- endif -%}
{%- endmacro %}
