{#-
The SQL of another model's file, of other days: what its head takes from given() is what `values`
says. So a history is, word for word, what its table of today says. What the text refers to must be
known before it is read: who takes it names that in a line `depends_on` (dbt refuses the rest).
-#}
{% macro text_of(name, values) -%}
    {%- if execute -%}
        {%- do context.update({'given_values': values}) -%}
        {{ return(render(graph.nodes['model.tutor_pipeline.' ~ name].raw_code)) }}
    {%- endif -%}
{%- endmacro %}

{% macro given(name, otherwise) -%}
    {{ return(context.get('given_values', {}).get(name, otherwise)) }}
{%- endmacro %}
