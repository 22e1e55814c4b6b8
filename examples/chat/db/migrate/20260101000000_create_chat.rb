# frozen_string_literal: true

class CreateChat < ActiveRecord::Migration[7.2]
  def change
    create_table :rooms do |t|
      t.string :name, null: false
      t.timestamps
    end

    create_table :messages do |t|
      t.references :room, null: false, foreign_key: true
      t.string :author, null: false
      t.text :body, null: false
      t.timestamps
    end
  end
end
