{#-
Row-level checks that follow from the platform contract: what is required, accepted, and between
which bounds. [{reason, broken}], broken being an SQL condition over the aliased rows; names maps
the contract's columns to theirs.
-#}
{% macro contract_checks(table, alias, names={}) -%}
    {%- set checks = [] -%}
    {%- set texts = text_columns(table) -%}
    {%- for column in platform_contract(table).columns.values() -%}
        {%- set meta = column.config.meta -%}
        {%- set value = alias ~ '.' ~ names.get(column.name, column.name) -%}
        {%- if meta.required and table == 'sessions' -%}
            {%- do checks.append({
                'reason': column.name ~ '_missing', 'broken': value ~ ' is null',
            }) -%}
        {%- endif -%}
        {%- if table == 'sessions' and (column.name == 'id' or column.name.endswith('_id')) -%}
            {%- do checks.append({
                'reason': column.name ~ '_out_of_range',
                'broken': 'length(' ~ value ~ ') > ' ~ max_id_length(),
            }) -%}
        {%- endif -%}
        {%- if column.data_type == 'boolean' and column.name in texts -%}
            {%- do checks.append({
                'reason': column.name ~ '_unknown_value',
                'broken': value ~ ' is null and trim(' ~ value ~ "_given) <> ''",
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

{% macro max_id_length() -%} {{ return(255) }} {%- endmacro %}

{% macro is_usable_id(value) -%} length({{ value }}) <= {{ max_id_length() }} {%- endmacro %}

{#-
The least and greatest value that counts as one: keeps out NaN, infinity, overflow, and the years
that stand for "never". Files (csv_values.py) go by the year of the zone that they are written in,
hence a day more at either end.
-#}
{% macro type_bounds(data_type) -%}
    {{ return({
        'integer': ['-2147483647', '2147483647'],
        'double precision': ["'-1e300'::double precision", "'1e300'::double precision"],
        'numeric': ['-1e300', '1e300'],
        'date': ["date '1899-12-31'", "date '2200-01-01'"],
        'timestamptz': ["timestamptz '1899-12-31 00:00:00+00'",
                        "timestamptz '2200-01-02 00:00:00+00'"],
    }.get(data_type)) }}
{%- endmacro %}

{% macro within_contract(table, column) -%}
    {%- if execute -%}
    {%- set contract = platform_contract(table).columns[column] -%}
    {%- set bounds = type_bounds(contract.data_type) -%}
    {%- set low = contract.config.meta.get('minimum', bounds[0]) -%}
    {%- set high = contract.config.meta.get('maximum', bounds[1]) -%}
    case when {{ column }} >= {{ low }} and {{ column }} <= {{ high }} then {{ column }} end
    {%- endif -%}
{%- endmacro %}
