create or replace function search_query(words text[]) returns tsquery language plpgsql immutable strict parallel safe as $$
declare
    word text;
    all_words tsquery := '';
begin
    foreach word in array words loop
        word := quote_literal(left(trim(search_text(word)), 400)); -- a word of a query has at most 2046 bytes
        continue when word = '''''';
        all_words := all_words && (to_tsquery('pg_catalog.simple', word || ':*') || to_tsquery('pg_catalog.english', word));
    end loop;
    return all_words;
end $$;
