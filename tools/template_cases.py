"""Templates, conversations and expressions for make_template_golden.py."""

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather <of> a \"city\" & more",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name"}, "days": {"type": "integer", "default": 1.5}},
            "required": ["city"],
        },
    },
}
CALL = {"id": "call12345", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}}

CONVERSATIONS = [
    {"messages": [{"role": "user", "content": "Hello"}], "add_generation_prompt": True},
    {"messages": [{"role": "system", "content": " Be brief. \n"}, {"role": "user", "content": "  Grüße, 世界! 🙂\n"},
                  {"role": "assistant", "content": "Hi\n"}, {"role": "user", "content": ""}], "add_generation_prompt": True},
    {"messages": [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Weather?"},
                  {"role": "assistant", "content": "", "tool_calls": [CALL]},
                  {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "{\"t\": 21.5}"},
                  {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "warm"},
                  {"role": "assistant", "content": "21.5 °C"}, {"role": "user", "content": "Thanks"}],
     "tools": [TOOL, TOOL], "add_generation_prompt": True},
    {"messages": [{"role": "user", "content": "2+2"},
                  {"role": "assistant", "content": "<think>\nadd them\n</think>\n\n4", "reasoning_content": None},
                  {"role": "user", "content": "and 3+3?"},
                  {"role": "assistant", "reasoning_content": "more\nadding", "content": "6"}],
     "extra": {"enable_thinking": True}},
    {"messages": [{"role": "user", "content": "quick"}], "add_generation_prompt": True, "extra": {"enable_thinking": False}},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is"}, {"type": "image"}, {"type": "text", "text": " this? "}]}],
     "add_generation_prompt": True},
    {"messages": [{"role": "assistant", "content": "first"}, {"role": "assistant", "content": "second"}]},
    {"messages": []},
    {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]}], "tools": [TOOL]},
    {"messages": [{"role": "user", "content": "just tools"}], "tools": [TOOL], "add_generation_prompt": True,
     "extra": {"custom_tools": None, "date_string": "26 Jul 2024", "tools_in_user_message": False}},
]

FAMILIES = {}

FAMILIES["chatml"] = """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>' + '\\n' }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{% endif %}
"""

FAMILIES["chatml-default-system"] = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You help.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")

FAMILIES["generation-tag"] = """{%- for m in messages %}
{%- if m.role == 'assistant' %}
<|a|>{% generation %}{{ m.content }}</s>{% endgeneration %}

{%- else %}
<|{{ m.role[0] }}|>{{ m.content | trim }}
{%- endif %}
{%- endfor %}
"""

FAMILIES["llama3-tools"] = """{{- bos_token }}
{%- if custom_tools is defined and custom_tools %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- The system turn comes first. #}
{%- if messages and messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n"}}
{%- endif %}
{{- "Today: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "Functions:\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
    {%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("One tool call at a time!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {%- if builtin_tools is defined and tool_call.name in builtin_tools %}
            {{- "<|eom_id|>" }}
        {%- else %}
            {{- "<|eot_id|>" }}
        {%- endif %}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

FAMILIES["gemma"] = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
"""

FAMILIES["qwen-thinking"] = """{%- macro render_content(content) %}
    {%- if content is string %}
        {{- content }}
    {%- elif content is iterable and content is not mapping %}
        {%- for part in content %}
            {%- if 'image' in part or part.type == 'image' %}{{- '<|image|>' }}{%- elif 'text' in part %}{{- part.text }}{%- endif %}
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = render_content(message.content) %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

FAMILIES["qwen-xml-tools"] = """{%- macro item_list(items, tag_name, verbose=false) %}
{%- for key, value in items|dictsort if value is not none %}
{{- '\\n<' ~ tag_name ~ ' name="' ~ key ~ '">' ~ (value | tojson | safe if value is mapping or (value is sequence and value is not string) else value | string) ~ '</' ~ tag_name ~ '>' }}
{%- endfor %}
{%- endmacro %}
{%- for tool in tools or [] %}
{%- set f = tool.function if tool.function is defined else tool %}
<function>{{ f.name }}: {{ f.description | trim }}
{{- item_list(f.parameters, tag_name='parameter') }}
{%- for name, field in f.parameters.properties.items() %}

{{ loop.index }}/{{ loop.length }} {{ name }} {{ field.keys() | list }}{{ ', ' if not loop.last }}
{%- endfor %}
{%- endfor %}
{%- for m in messages if m.tool_calls %}
{%- for c in m.tool_calls %}{% for k, v in c.function.arguments | items %}
<parameter={{ k }}>{{ v if v is string else v | tojson }}</parameter>
{% endfor %}{% endfor %}
{%- else %}
none called
{%- endfor %}
"""

FAMILIES["deepseek"] = """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='', is_first_sp=true) %}{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}{%- else %}{% set ns.system_prompt = ns.system_prompt + '\\n\\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and 'tool_calls' in message %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls'] %}{%- if not ns.is_first %}{%- if message['content'] is none %}{{'<|Assistant|><|calls|>' + tool['type'] + '<|sep|>' + tool['function']['name'] + '\\n```json\\n' + tool['function']['arguments']|tojson + '\\n```'}}{%- else %}{{'<|Assistant|>' + message['content'] + '<|calls|>' + tool['function']['name']}}{%- endif %}{%- set ns.is_first = true -%}{%- else %}{{'\\n<|call|>' + tool['function']['name']}}{%- endif %}{%- endfor %}{{'<|calls_end|>'}}{%- endif %}{%- if message['role'] == 'assistant' and 'tool_calls' not in message %}{%- if ns.is_tool %}{{'<|outputs_end|>' + message['content'] + eos_token}}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + eos_token}}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<|outputs|><|output|>' + message['content']}}{%- set ns.is_output_first = false %}{%- else %}{{'<|output|>' + message['content']}}{%- endif %}{%- endif %}{%- endfor -%}{% if ns.is_tool %}{{'<|outputs_end|>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<|Assistant|>'}}{% endif %}"""

FAMILIES["mistral-tools"] = """{%- if messages and messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + ", " }}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %}
"""

# Values that the expressions see.
MICRO_CONTEXT = {
    "n": 7, "f": 2.5, "s": "Hello World", "u": "Straße ÀÉ 世界 🙂", "e": "", "t": True, "no": None, "neg": -3,
    "l": [3, 1, 2], "w": ["b", "A", "c", "B"], "d": {"b": 2, "A": 1, "c": None}, "nested": {"a": {"b": [10, {"c": "deep"}]}},
    "users": [{"name": "Zoe", "age": 30, "x": {"y": 1}}, {"name": "amy", "age": 25, "x": {"y": 2}}, {"name": "Bob", "age": 30}],
    "html": "<a href=\"x\">'&'</a>", "lines": "a\nb\r\n\nc  \n", "pad": "  \t x y \n ", "mixed": [1, 2.0, "x", None, True, [1], {"k": "v"}],
    "big": 1e22, "small": 1.5e-7, "quote": "it's \"q\"",
}


def expressions():
    for x in ["n", "f", "s", "u", "e", "t", "no", "neg", "l", "w", "d", "nested", "users", "html", "lines", "pad", "mixed", "big",
              "small", "quote", "missing", "[quote, u, lines]", "(1,)", "()", "(1, 'a')", "{}", "[]", "1e16", "123456789.0", "0.1+0.2",
              "1e-5", "100000.0", "-0.0", "1_000", "0x1f", "0b11", "0o17", "1.5e3", "'\\x41\\u00e9\\n\\t\\\\'", "'a' 'b'", "[u'x']",
              "'\\u200b\\x7f\\x00é'|list", "{1: 2, none: 3, true: 4, 1.5: (1, 2)}", "range(3)", "range(5, 1, -2)", "d.items()", "d.keys()", "d.values()"]:
        yield x
        yield f"{x}|tojson"
        for filt in ["string", "length", "list", "first", "last", "upper", "int", "float", "abs", "reverse|list", "sort", "join('-')", "trim",
                     "title", "capitalize", "unique|list", "escape", "wordcount", "default('D')", "default('D', true)", "sum", "max"]:
            yield f"{x}|{filt}"
        for test in ["defined", "none", "string", "mapping", "sequence", "iterable", "number", "integer", "float", "boolean", "true", "odd",
                     "callable", "lower", "upper"]:
            yield f"{x} is {test}"
    numbers = ["7", "-7", "2", "2.5", "-0.5", "true"]
    for op in ["+", "-", "*", "/", "//", "%", "**"]:
        for a in numbers:
            for b in ["3", "-2", "2.0", "0"]:
                yield f"{a} {op} {b}"
    for op in ["==", "!=", "<", "<=", ">", ">=", "in", "not in"]:
        for a, b in [("1", "1.0"), ("'a'", "'b'"), ("[1]", "[1, 2]"), ("'x'", "1"), ("none", "none"), ("missing", "missing"),
                     ("'b'", "d"), ("2", "l"), ("'lo'", "s"), ("1", "'abc'"), ("missing", "[1]"), ("(1, 2)", "(1, 3)"), ("{}", "{}")]:
            yield f"{a} {op} {b}"
    for line in """1 < 2 < 3|1 < 3 > 2|1 == 1 == 1|not true|not not e|1 and 0 or 'x'|e or no or 'last'|1 if t else 2|1 if e|(1 if e) is defined
        'a' ~ 1 ~ none ~ 2.0 ~ missing ~ true ~ [1]|'a' + 1|1 + 'a'|[1] + [2]|(1,) + (2,)|[1] + (2,)|'ab' * 2|2 * 'ab'|[1] * 2|'a' * -1
        -n|+n|-f|--n|-'a'|2 ** 3 ** 2|-2 ** 2|2 + 3 * 4|(2 + 3) * 4|'a' ~ 1 + 2|10 - 2 - 3|7 // 2 * 2|n is odd and true|not n is even
        'x' in 'xyz' and 1 not in [2]|n in [7]|n is in [7]|n is not in([7])|3 is divisibleby 3|4 is divisibleby(3)|n is eq 7|n is ne(7)|n is gt 6
        n is lt 6|n is ge 7|n is le 7|n is sameas n|none is sameas none|'a' is equalto 'a'|'a' is lessthan 'b'|'upper' is filter|'odd' is test
        no.x|no['x']|missing.x|missing['x']|missing.x.y|d.zzz|d.zzz.y|l[9]|l[9].x|l[-1]|l[0]|l[true]|s[0]|u[-1]|u[7]|s['x']|s[9999]|n.x|n[0]|d['b']|d.b|d['items'] is callable
        nested.a.b[1].c|nested['a']['b'][0]|nested.a.b.0|nested.a.b.1.c|d.get('b')|d.get('q')|d.get('q', 5)|d.get('c', 5)|d.items()|list|d.keys()|list
        l[1:]|l[:-1]|l[::-1]|l[::2]|l[-2:]|l[5:]|l[:0]|l[2:0:-1]|s[::-1]|s[1:4]|u[2:9]|u[::-1]|u[-2:]|s[:-100]|s[10:2]|s[::0]|n[1:]|(1,2,3)[1:]|range(10)[2:5]|missing[1:]|l[none:2]|l['a':]
        s.upper()|s.lower()|u.upper()|u.lower()|'ΣΑΣ'.lower()|s.title()|"they're bill's".title()|"they're bill's"|title|s.capitalize()|'éA'.capitalize()|s.swapcase()
        pad.strip()|pad.lstrip()|pad.rstrip()|'xxaxx'.strip('x')|'abcba'.lstrip('ab')|'abcba'.rstrip('ab')|pad.strip(none)|s.split()|s.split('o')|s.split('o', 1)|s.rsplit('o', 1)|s.split(' ')
        pad.split()|pad.split(none, 1)|pad.rsplit(none, 1)|'a,b,,c'.split(',')|''.split()|''.split(',')|s.split('')|lines.splitlines()|lines.splitlines(true)|s.partition('o')|s.rpartition('o')|s.partition('q')|s.rpartition('q')
        s.replace('o', '0')|s.replace('o', '0', 1)|s.replace('', '-')|s.replace('', '-', 3)|s.replace('l', '')|s.startswith('He')|s.startswith(('x', 'H'))|s.endswith('ld')|s.endswith('x')|s.startswith('l', 2)
        s.find('o')|s.find('o', 5)|s.find('q')|u.find('世')|s.rfind('o')|s.index('W')|s.index('q')|s.count('l')|s.count('')|s.count('l', 4)|', '.join(w)|', '.join(l)|''.join([])|'-'.join('abc')|'-'.join(d)
        s.ljust(14, '.')|s.rjust(14)|s.center(14, '*')|'ab'.center(5)|'abc'.center(6)|'7'.zfill(3)|'-7'.zfill(4)|'a\\tb'.expandtabs(4)|s.isalpha()|'abc'.isalpha()|'12'.isdigit()|'a1'.isalnum()|' '.isspace()|''.isspace()|'AB'.isupper()|'ab1'.islower()
        s.removeprefix('Hello ')|s.removesuffix('World')|s.casefold()|'{} {}'.format(1, 'a')|'{1} {0}'.format(1, 2)|'{a} {b!r}'.format(a=1, b='x')|'{:>5}|{:<5}|{:^5}'.format(1, 'a', 'b')|'{:.2f} {:05d} {:+d} {:x} {:,}'.format(3.14159, 42, 7, 255, 1234567)
        '{0.name}'.format({'name': 1})|'{0[name]}'.format({'name': 1})|'{{}}'.format()|'{}'.format()|'{:d}'.format('a')|'{:s}'.format('a')|'{:%}'.format(0.25)|'{:e}'.format(12345.678)
        '%s and %s' % ('a', 1)|'%d' % 5|'%05.2f' % 3.14159|'%5s|%-5s|' % ('a', 'b')|'%(x)s' % {'x': 1}|'%r' % 'a'|'%x' % 255|'%%' % ()|'%s' % [1, 2]|'%d' % 'a'|'%s %s' % 'a'|'%s' % ('a', 'b')|'%e' % 12345.678|'%g' % 0.0001|'%i%c' % (3, 'z')
        '%s, %s!'|format('Hi', 'you')|'%(a)s'|format(a=1)|l.index(1)|l.index(9)|l.count(3)|(1, 2, 1).count(1)|l.append(4)|l.pop()|d.update({})|d.copy()|l.copy()|s.__class__|s['__class__']|s._x|d.__init__|''.__class__.__mro__
        s|replace('o', '0')|s|replace('o', '0', 1)|12|replace(1, 3)|s|indent|lines|indent|lines|indent(2)|lines|indent(2, true)|lines|indent(2, true, true)|lines|indent('> ')|lines|indent(first=true, width=1)|'x'|center(7)|s|truncate(8)|s|truncate(5)|s|truncate(8, true, '..', 0)|s|truncate(6, false, '...', 0)
        html|e|html|escape|e|html|safe|(html|e) + '<'|'<' + (html|e)|'<' ~ (html|safe) ~ 1|html|safe|upper|html|forceescape|'a'|safe|replace('a','<')|(('<'|e) * 2)|'%s'|safe % '<'|'<'|safe is escaped|['<'|safe, '<']|join
        w|sort|w|sort(true)|w|sort(case_sensitive=true)|users|sort(attribute='age')|map(attribute='name')|list|users|sort(attribute='age,name')|map(attribute='name')|list|users|sort(attribute='name', reverse=true)|map(attribute='name')|join(' ')|mixed|sort
        w|unique|list|['a','A','b']|unique(true)|list|users|unique(attribute='age')|map(attribute='name')|list|users|map(attribute='x.y')|list|users|map(attribute='x.y', default='-')|list|users|map(attribute='age')|sum|users|sum(attribute='age')|users|sum('age', 5)
        l|sum(start=10)|l|min|l|max|w|min|w|max(case_sensitive=true)|[]|min|[]|max is defined|users|min(attribute='age')|users|max(attribute='name')|w|map('lower')|list|w|map('replace', 'b', 'x')|list|l|map('string')|join('+')|w|map|list|w|map('nope')|list
        l|select|list|[0,1,none,'']|select|list|l|select('odd')|list|l|reject('odd')|list|l|select('gt', 1)|list|l|select('>', 1)|list|l|select('in', [1, 2])|list|users|selectattr('age', 'equalto', 30)|map(attribute='name')|list|users|rejectattr('age', '==', 30)|list|users|selectattr('x')|list|users|selectattr('x.y', 'defined')|list|length|users|selectattr('x', 'undefined')|list|length|users|rejectattr('x')|map(attribute='name')|list|users|selectattr
        l|map('float')|first|l|select('odd')|first|l|select('odd')|length|l|select('odd')|last|[]|first|[]|last|''|first|d|first|l|reverse|list|s|reverse|l|reverse|l|reverse|first|d|dictsort|d|dictsort(true)|d|dictsort(by='value')|{'a':2,'b':1}|dictsort(by='value')|{'a':2,'b':1}|dictsort(reverse=true)|d|items|list|missing|items|list|d|list|l|items
        users|groupby('age')|users|groupby('x.y', default=0)|list|length|w|groupby(attribute=0)|l|batch(2)|list|l|batch(2, 'x')|list|l|slice(2)|list|l|slice(2, 'x')|list|l|join|w|join(', ')|users|join(', ', attribute='name')|d|join('/')|mixed|join('|')|s|join('.')
        42.55|round|42.55|round(1)|42.55|round(1, 'floor')|42.51|round(1, 'ceil')|2.5|round|3.5|round|7|round|1234|round(-2)|2.675|round(2)|-2.5|round|'x'|round|'42'|int|'42.9'|int|'0x1f'|int(base=16)|'1f'|int(0, 16)|'abc'|int|'abc'|int(5)|' 12 '|int|'1_0'|int|none|int|3.9|int|-3.9|int|true|int|'1e3'|int|'3.5'|float|'x'|float|'x'|float(1.0)|'inf'|float|none|float|'nan'|float
        1000|filesizeformat|1|filesizeformat|1500000|filesizeformat|1500000|filesizeformat(true)|'a b&c/d'|urlencode|{'a b': 'ü'}|urlencode|'a-b c_d'|wordcount|u|wordcount|'hello wORLD-foo (bar)'|title|s|attr('upper')|d|attr('b')|d|count|s|string|upper|lower|1|string|length|[1,2]|string
        nested|tojson|nested|tojson(indent=2)|nested|tojson(indent=none)|[]|tojson(indent=2)|{'a': []}|tojson(indent=1)|u|tojson|u|tojson(ensure_ascii=true)|u|tojson(true)|d|tojson(sort_keys=true)|{'b':1,'a':2}|tojson(sort_keys=true)|d|tojson(separators=(',', ':'))|d|tojson(separators=(',', ':'), indent=2)|html|tojson|'\\x00\\x1f\\x7f\\u2028'|tojson|'\\x00\\x1f\\x7f\\u2028🙂'|tojson(ensure_ascii=true)|{1:2, none:3, true:4, 1.5:5}|tojson|{(1,2):3}|tojson|(1, 2)|tojson|missing|tojson|range(3)|tojson|[missing]|tojson|1e22|tojson|'inf'|float|tojson|l|tojson(indent='\\t')|quote|tojson|d.items()|tojson|lines|tojson
        dict(a=1, b=2)|dict({'a': 1}, b=2)|dict([('a', 1)])|dict()|dict.fromkeys(['a','b'], 0)|namespace(a=1).a|namespace({'a': 1}).a|namespace(a=1).b|namespace(a=1)['a']|range(3)|list|range(1, 4)|list|range(10, 0, -3)|list|range(0)|list|range(3)|length|range(3)[1]|range(1000000)|range('a')|range()
        strftime_now('%Y-%m-%d')|strftime_now('%d %b %Y')|strftime_now('%A, %B %e, %Y %H:%M:%S %j %p %I %y %a %U %W %V %G %u %w %%')|strftime_now('%-d.%-m.')|strftime_now('%D %F %T %R %c %x %X')|raise_exception('boom ' ~ n)|raise_exception(1, 2)|nofunc()|n()|s.nomethod()|d.nomethod()|no.x()
        joiner('-')()|cycler('a','b').next()|cycler()|loop is defined|caller is defined|[x for x in l]|1 2|a b|{'a':1}.a|{'a':1, 'a':2}|{}['a']|[1,2,][0]|(1)|((1,2),3)|foo=1|1 +|1|{{|)|]|l[|l[]|d.|'abc|"a'b"|'a"b'|none|True|False|None|true|{'a':{'b':[1,(2,)]}}
        u.casefold()|'Straße'.istitle()|'A1 b'.istitle()|u.isprintable()|'a\\n'.isprintable()|'año_1'.isidentifier()|'1a'.isidentifier()|'½Ⅷ三'.isnumeric()|'ⅷⅧ'.swapcase()|'ᾳ'.upper()|'ᾳ'.title()
        '%5%' % ()|'%.5d' % -3|'%+08.3i' % 7|'%#10.5x' % 255|'%#.3g' % 1.0|'%a' % u|'%f' % missing|'{:>08}'.format('ab')|'{:08}'.format('ab')|'{:+}'.format('a')|'{:,}'.format('a')|'{:.2}'.format(5)|'{:.3}'.format(1.0)|'{:.2}'.format(100.0)
        '{:#010x}'.format(255)|'{:_}'.format(1234567)|'{:_b}'.format(1023)|'{!a}'.format(u)|'{:c}'.format(8364)|'{:=5}'.format('a')|-0.5|filesizeformat|[] is filter|{} is test|l|sort(none)|lines.splitlines(1.5)
        [1, 2]|truncate(5)|namespace(a=1, b='x')|1e16|round(none)|'12'|int(0, 99)|d|int(3, 1)|'<b>'|safe|list|(html|safe)|first|('<'|safe).join(['>', 1])|-0.4|round(0, 'ceil')
        n|nofilter|n is notest|e and missing.x|t or missing.x|t and missing|missing == no|missing == missing2|[missing, 1]|missing|length|missing|list|missing|default('x')|no|default('x')|no|default('x', true)|missing|d('y')|missing.x|default('z')|missing + 1|-missing|missing ~ 'a'|missing < 1|missing()|missing|int|missing|upper|missing|first|missing|join|'a' in missing|s is string is true""".split("\n"):
        yield from split_line(line)


FILTERS = set("""replace indent center truncate safe escape forceescape upper lower sort unique map join sum min max select reject
selectattr rejectattr first last length list string reverse dictsort items groupby batch slice round int float filesizeformat
urlencode wordcount title attr count tojson default format""".split())


def pieces(line):
    """Splits at bars outside of quotes and brackets."""
    depth, quote, start = 0, "", 0
    for i, c in enumerate(line):
        if quote:
            quote = "" if c == quote and line[i - 1] != "\\" else quote
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "|" and depth == 0:
            yield line[start:i]
            start = i + 1
    yield line[start:]


def split_line(line):
    """A line of expressions separated by bars; a bar before the name of a filter applies that filter."""
    out = []
    for piece in pieces(line.strip()):
        name = piece.split("(")[0].split(" ")[0].strip()
        is_filter = name in FILTERS or piece.startswith("d('") or (piece == "e" and out and out[-1] == "html")
        if out and is_filter:
            out[-1] += "|" + piece
        else:
            out.append(piece)
    return out


STATEMENTS = r"""
a {% if n %} b {% endif %} c
a {%- if n -%} b {%- endif -%} c
  {% if n %}
  x
  {% endif %}
y
  {%+ if n %}
  x
  {%+ endif %}
y
  {% if n +%}
  x
  {% endif -%}
  y
a{# comment #}
b
  {# comment #}
b
a {#- comment -#} b
{{ n }}
{{ s }}

x{{- n -}} y
x {{+ n }} y
{% raw %}{{ not }} {% this %}{% endraw %}
  {% raw %}
  {{ x }}
  {% endraw %}
z
{%- raw -%}  {{ x }}  {%- endraw -%}  z
{% raw -%} x {% endraw %}
{% for x in l %}{{ x }}{% endfor %}
{% for x in l %}
{{ x }}
{% endfor %}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}
{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}
{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}
{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}
{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}
{% for x in l %}{{ loop.nothing }}{% endfor %}
{% for x in [] %}a{% else %}none{% endfor %}
{% for x in missing %}a{% else %}none{% endfor %}
{% for x in no %}a{% endfor %}
{% for x in n %}a{% endfor %}
{% for c in 'añ🙂' %}[{{ c }}]{% endfor %}
{% for k in d %}{{ k }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }},{% endfor %}
{% for k, v in d|items %}{{ loop.length }}{{ k }}={{ v }},{% endfor %}
{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}{{ b }} {% endfor %}
{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}
{% for x in l if x > 9 %}a{% else %}b{% endfor %}
{% for x in 1, 2, 3 %}{{ x }}{% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in l %}{% for y in w %}{% if y == 'A' %}{% break %}{% endif %}{{ x }}{{ y }}{{ loop.index }} {% endfor %}{{ loop.index }}{% endfor %}
{% for x in l %}{% break %}{% else %}e{% endfor %}
{% break %}
{% for x in [] %}{{ x|nofilter }}{% endfor %}
{% if e %}{{ x|nofilter }}{% endif %}
{% if e %}{% for x in l %}{{ x is notest }}{% endfor %}{% endif %}
{{ (n|nofilter) if e else 2 }}
{% if e %}{% set x | nofilter %}a{% endset %}{% endif %}
{% macro m() %}{{ 1|nofilter }}{% endmacro %}
{% for y in l %}{% for x in [] recursive %}a{% else %}{% break %}{% endfor %}{% endfor %}
{% for x in [[1, [2]], [3]] recursive %}{{ loop.depth }}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}
{% for x in l %}{{ loop(l) }}{% endfor %}
{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}
{% set x = 1 %}{% for i in l %}{{ x }}{% set x = i %}{{ x }}{% endfor %}
{% for i in l %}{{ y is defined }}{% set y = i %}{% endfor %}
{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}
{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}
{% set d.x = 1 %}
{% set ns = namespace(_a=1) %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set a = b = 1 %}
{% set a, b = [1] %}
{% set x %}abc {{ n }}{% endset %}[{{ x }}]
{% set x | upper | trim %} abc {{ n }} {% endset %}[{{ x }}]
{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y is defined }}
{% set x = 1, 2 %}{{ x }}
{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}
{% if e %}a{% elif n > 3 %}b{% else %}c{% endif %}
{% if e %}a{% elif no %}b{% else %}c{% endif %}
{% if missing %}a{% endif %}.
{% if n %}{% set q = 5 %}{% endif %}{{ q }}
{% if l|select('gt', 9) %}generators are true{% endif %}
{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c='z') }}{{ m(b=1, a=2) }}{{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro m(a) %}{{ a }}|{{ varargs }}|{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, z=4) }}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}
{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}body {{ n }}{% endcall %}
{% macro m() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b=5) m() %}{{ a }}{{ b }}{% endcall %}
{% macro m() %}[{{ caller is defined }}]{% endmacro %}{{ m() }}
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
{% macro m(x) %}{{ x }}{% if x > 0 %}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(3) }}
{% macro m() %}{{ q }}{% endmacro %}{% set q = 4 %}{{ m() }}
{% macro m() %}{{ i }}{% endmacro %}{% for i in l %}{{ m() }}{% endfor %}
{% macro m() %}{% set z = 1 %}{% endmacro %}{{ m() }}{{ z is defined }}
{% macro m(a, b) %}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.caller }}{{ m.catch_kwargs }}{{ m is callable }}
{% macro m() -%}   x   {%- endmacro %}[{{ m() }}]
{% macro m(a) %}{{ a }}{% endmacro %}{{ l|map('string')|map('upper')|join }}{{ m(*[1]) }}{{ m(**{'a': 2}) }}
{% filter upper %}abc {{ s }}{% endfilter %}
{% filter replace('a', 'b')|upper %}aaa{% endfilter %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}
{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z is defined }}
{% print n, s %}
{% generation %}{% set z = 1 %}{{ z }}{% endgeneration %}{{ z is defined }}
  {% generation %}
  x
  {% endgeneration %}
y
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}
{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}
{% set g = l|map('string') %}{{ g|list }}{{ g|list }}
{% set g = l|select('odd') %}{{ g|first }}{{ g|list }}
{% set f = s.upper %}{{ f() }}
{% set loop = 1 %}{{ loop }}
{% unknown %}
{% include 'x' %}
{% import 'x' as y %}
{% if %}{% endif %}
{% if n %}
{% for x in l %}
{% endfor %}
{% endif %}
{% else %}
{% for x l %}{% endfor %}
{% set %}
{% set 1 = 2 %}
{% set none = 2 %}
{{ n
{% if n
{# open
{% raw %} open
{{ }}
{{ n }} }}
{{ '}}' }}{{ "{%" }}
{{ {'a': {'b': 1}}['a']['b'] }}
{{ {'a': {'b': 1}} }}
{{n}}{{-n-}}{{ n}}
{%if n%}x{%endif%}
{%-if n-%} x {%-endif-%}
text only
  text with { braces } and % signs {
line1\nline2
{% if n %}

x

{% endif %}

{{ n }}

{{ n }}

{%- set x = 1 -%}

y
	{% if n %}tab{% endif %}
x	{% if n %}tab{% endif %}
{{ n }}  {% if n %}a{% endif %}
{{ n }}
  {% if n %}a{% endif %}
  {{ n }}
  {%- if n %} a{% endif %}
"""


def statements():
    lines = STATEMENTS.strip("\n").split("\n")
    yield from lines
    for size in (2, 3, 4):
        for i in list(range(0, 48)) + list(range(len(lines) - 34, len(lines) - size + 1)):
            yield "\n".join(lines[i:i + size])
    for a in ["x", "x ", "x\n", "x\n  ", "  ", "\n\n", ""]:
        for tag in ["{%% %s %%}", "{%%- %s %%}", "{%%+ %s %%}", "{%% %s -%%}", "{%% %s +%%}"]:
            for b in ["y", "\ny", " \n y", "\r\n\ny", "\n"]:
                yield a + tag % "set q = 1" + b
    for a in ["x\n  ", "  ", "x "]:
        for tag in ["{{ n }}", "{{- n }}", "{{ n -}}", "{{- n -}}", "{# c #}", "{#- c #}", "{# c -#}", "{#+ c +#}"]:
            for b in ["y", "\ny", " \n\n y", "\n"]:
                yield a + tag + b


OUT_OF_SCOPE = {"{{ big|int }}"}  # integers above 64 bits are an error here
MICRO = [m for m in dict.fromkeys(["{{ " + x + " }}" for x in expressions()] + list(statements())) if m not in OUT_OF_SCOPE]
