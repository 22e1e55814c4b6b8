# frozen_string_literal: true

ActiveRecord::Schema[7.2].define(version: 1) do
  create_table :posts, force: true do |t|
    t.string :title
    t.timestamps
  end

  create_table :comments, force: true do |t|
    t.references :post
    t.string :body
    t.timestamps
  end

  create_table :boards, force: true do |t|
    t.string :name
  end

  create_table :rooms, force: true do |t|
    t.string :name
  end
end
